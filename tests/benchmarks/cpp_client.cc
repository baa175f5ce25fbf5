// The yardstick of native clients: libgrpc++ with a completion queue.
// cpp_client ADDRESS REQUEST_FILE IN_FLIGHT SECONDS [RATE]; prints one JSON object.
// With a RATE it sends so many requests a second at even distances, whether or not earlier ones have been answered.
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

using Clock = std::chrono::steady_clock;

static double CpuSeconds() {
  rusage used;
  getrusage(RUSAGE_SELF, &used);
  return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
}

struct Call {
  std::unique_ptr<grpc::ClientContext> context;
  std::unique_ptr<grpc::GenericClientAsyncResponseReader> reader;
  grpc::ByteBuffer reply;
  grpc::Status status;
  Clock::time_point started;
};

int main(int argc, char** argv) {
  if (argc != 5 && argc != 6) {
    std::cerr << "usage: cpp_client ADDRESS REQUEST_FILE IN_FLIGHT SECONDS [RATE]\n";
    return 2;
  }
  std::ifstream file(argv[2], std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  grpc::Slice slice(bytes);
  grpc::ByteBuffer request(&slice, 1);
  grpc::ChannelArguments options;
  options.SetMaxReceiveMessageSize(-1);
  auto channel = grpc::CreateCustomChannel(argv[1], grpc::InsecureChannelCredentials(), options);
  if (!channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(5)))
    return 1;
  grpc::GenericStub stub(channel);
  grpc::CompletionQueue queue;
  std::vector<Call> calls(std::stoi(argv[3]));
  const auto start = [&](Call& call) {
    call.context = std::make_unique<grpc::ClientContext>();
    call.started = Clock::now();
    call.reader = stub.PrepareUnaryCall(call.context.get(), "/tensorflow.serving.PredictionService/Predict", request, &queue);
    call.reader->StartCall();
    call.reader->Finish(&call.reply, &call.status, &call);
  };
  std::vector<double> latencies;
  const auto begin = Clock::now();
  const auto end = begin + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(std::stod(argv[4])));
  const double cpu = CpuSeconds();
  size_t open = 0, errors = 0;
  void* tag;
  bool ok;
  if (argc == 6) {
    const double rate = std::stod(argv[5]);
    const size_t total = rate * std::stod(argv[4]);
    std::vector<Call*> idle;
    std::vector<std::unique_ptr<Call>> made;
    for (size_t sent = 0; sent < total || open;) {
      const auto due = begin + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(sent / rate));
      if (sent < total && Clock::now() >= due && open < calls.size()) {
        if (idle.empty()) {
          made.push_back(std::make_unique<Call>());
          idle.push_back(made.back().get());
        }
        start(*idle.back());
        idle.pop_back();
        ++open;
        ++sent;
        continue;
      }
      const auto until = sent < total && open < calls.size() ? due : Clock::now() + std::chrono::seconds(1);
      const auto wait = std::chrono::system_clock::now() + (until - Clock::now());
      if (queue.AsyncNext(&tag, &ok, wait) != grpc::CompletionQueue::GOT_EVENT) continue;
      auto& call = *static_cast<Call*>(tag);
      latencies.push_back(std::chrono::duration<double>(Clock::now() - call.started).count());
      errors += !call.status.ok();
      call.reply.Clear();
      idle.push_back(&call);
      --open;
    }
  } else {
    for (auto& call : calls) start(call);
    open = calls.size();
  }
  while (open && queue.Next(&tag, &ok)) {
    auto& call = *static_cast<Call*>(tag);
    const auto now = Clock::now();
    latencies.push_back(std::chrono::duration<double>(now - call.started).count());
    errors += !call.status.ok();
    if (now < end) start(call);
    else --open;
  }
  const double used = CpuSeconds() - cpu;
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  std::sort(latencies.begin(), latencies.end());
  const size_t n = latencies.size();
  double total = 0;
  for (double latency : latencies) total += latency;
  std::cout << "{\"requests\": " << n << ", \"errors\": " << errors << ", \"seconds\": " << seconds << ", \"cpu\": " << used
            << ", \"mean\": " << total / n << "}" << std::endl;
}
