// The least that a punctual open loop costs here: timer, epoll, send and read, and nothing else; answers are counted.
// bare_client PORT FRONT_FILE REQUEST_FILE SECONDS RATE MERGE_US DUES_FILE; prints one JSON object.
// FRONT_FILE: the frames in front of a message, with stream 0. Requests due within MERGE_US leave together; when each
// was due (Poisson, CLOCK_MONOTONIC) is written to DUES_FILE.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

static double Now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

static double CpuSeconds() {
  rusage used;
  getrusage(RUSAGE_SELF, &used);
  return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
}

static std::string Content(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Counts the frames that end a stream.
struct Answers {
  size_t count = 0, skip = 0;
  std::string head;
  void Take(const char* data, size_t size) {
    for (size_t at = 0; at < size;) {
      if (skip) {
        const size_t step = std::min(skip, size - at);
        skip -= step, at += step;
        continue;
      }
      head += data[at++];
      if (head.size() < 9) continue;
      const auto* h = reinterpret_cast<const unsigned char*>(head.data());
      skip = h[0] << 16 | h[1] << 8 | h[2];
      count += h[3] == 1 && h[4] & 1;
      head.clear();
    }
  }
};

int main(int argc, char** argv) {
  if (argc != 8) {
    std::cerr << "usage: bare_client PORT FRONT_FILE REQUEST_FILE SECONDS RATE MERGE_US DUES_FILE\n";
    return 2;
  }
  const std::string front = Content(argv[2]), message = Content(argv[3]);
  const double seconds = std::stod(argv[4]), rate = std::stod(argv[5]), merge = std::stod(argv[6]) * 1e-6;
  const int sock = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  sockaddr_in address{};
  address.sin_family = AF_INET, address.sin_port = htons(std::stoi(argv[1]));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(sock, reinterpret_cast<sockaddr*>(&address), sizeof address)) return 1;
  setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  // SETTINGS_INITIAL_WINDOW_SIZE and the connection's window as large as can be; the server's SETTINGS acknowledged
  static const char greeting[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
      "\0\0\x06\x04\0\0\0\0\0\0\x04\x7f\xff\xff\xff" "\0\0\x04\x08\0\0\0\0\0\x7f\xff\0\0" "\0\0\0\x04\x01\0\0\0\0";
  std::vector<char> buffer(1 << 18);
  if (write(sock, greeting, sizeof greeting - 1) < 0 || recv(sock, buffer.data(), buffer.size(), 0) <= 0) return 1;
  usleep(50000);
  std::mt19937_64 random(1);
  std::exponential_distribution<double> gap(rate);
  std::vector<double> due(static_cast<size_t>(rate * seconds) + 1);  // a Poisson process that has so many arrivals
  for (size_t each = 1; each < due.size(); ++each) due[each] = due[each - 1] + gap(random);
  const double begin = Now() + 0.02, scale = seconds / due.back();
  for (double& each : due) each = begin + each * scale;
  const int loop = epoll_create1(0), timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  for (const int each : {sock, timer}) {
    epoll_event event{};
    event.events = EPOLLIN, event.data.fd = each;
    epoll_ctl(loop, EPOLL_CTL_ADD, each, &event);
  }
  Answers answers;
  const auto read_answers = [&] {
    const ssize_t size = recv(sock, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (size == 0 || (size < 0 && errno != EAGAIN)) exit(1);
    if (size > 0) answers.Take(buffer.data(), size);
  };
  std::string out;
  uint32_t stream = 1;
  const double cpu = CpuSeconds();
  double armed = 0;
  for (size_t next = 0; answers.count < due.size();) {
    const double now = Now();
    out.clear();
    for (; next < due.size() && due[next] <= now && out.size() < (1 << 20); ++next, stream += 2) {
      const size_t at = out.size();
      const uint32_t number = htonl(stream);
      out += front;
      std::memcpy(&out[at + 5], &number, 4);
      std::memcpy(&out[out.size() - 9], &number, 4);
      out += message;
    }
    for (size_t at = 0; at < out.size();) {
      const ssize_t size = send(sock, out.data() + at, out.size() - at, MSG_DONTWAIT);
      if (size > 0) {
        at += size;
      } else if (errno == EAGAIN) {  // a server that cannot send its answers reads no more
        pollfd both{sock, POLLIN | POLLOUT, 0};
        poll(&both, 1, -1);
        if (both.revents & POLLIN) read_answers();
      } else {
        return 1;
      }
    }
    if (!out.empty()) continue;
    double alarm = armed;
    if (next < due.size()) {
      size_t last = next;
      while (last + 1 < due.size() && due[last + 1] <= due[next] + merge) ++last;
      alarm = due[last];
    } else if (armed <= due.back()) {
      alarm = due.back() + 1;
    } else if (now >= armed) {
      break;
    }
    if (alarm != armed) {
      itimerspec spec{};
      spec.it_value.tv_sec = alarm, spec.it_value.tv_nsec = (alarm - spec.it_value.tv_sec) * 1e9;
      timerfd_settime(timer, TFD_TIMER_ABSTIME, &spec, nullptr);
      armed = alarm;
    }
    epoll_event events[2];
    for (int each = epoll_wait(loop, events, 2, -1); each-- > 0;)
      if (events[each].data.fd == sock) read_answers();
  }
  const double used = CpuSeconds() - cpu;
  std::ofstream(argv[7], std::ios::binary).write(reinterpret_cast<const char*>(due.data()), due.size() * sizeof(double));
  std::cout << "{\"requests\": " << due.size() << ", \"errors\": " << due.size() - answers.count << ", \"seconds\": " << seconds
            << ", \"cpu\": " << used << ", \"mean\": 0}\n";
}
