// A gRPC server in C++ that answers each Predict with the same bytes: null_server PORT REPLY_FILE [PEM_FILE].
// With a PEM file, which holds a certificate chain and its key, it speaks TLS.
// It prints the port it got (PORT 0: any free one) and ends with its standard input.
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <fstream>
#include <iostream>
#include <iterator>
#include <limits>
#include <string>
#include <thread>

namespace {

grpc::ByteBuffer reply;

// One call at a time in this object; while it is busy, another object waits for the next call.
class Call {
 public:
  Call(grpc::AsyncGenericService* service, grpc::ServerCompletionQueue* queue)
      : service_(service), queue_(queue), stream_(&context_) {
    service_->RequestCall(&context_, &stream_, queue_, queue_, this);
  }

  void Proceed(bool ok) {
    if (!ok || step_ == kFinished) {
      delete this;
    } else if (step_ == kArrived) {
      new Call(service_, queue_);
      step_ = kRead;
      stream_.Read(&request_, this);
    } else {
      step_ = kFinished;
      if (context_.method() == "/tensorflow.serving.PredictionService/Predict") {
        stream_.WriteAndFinish(reply, grpc::WriteOptions(), grpc::Status::OK, this);
      } else {
        stream_.Finish(grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "only Predict"), this);
      }
    }
  }

 private:
  enum { kArrived, kRead, kFinished } step_ = kArrived;
  grpc::AsyncGenericService* service_;
  grpc::ServerCompletionQueue* queue_;
  grpc::GenericServerContext context_;
  grpc::GenericServerAsyncReaderWriter stream_;
  grpc::ByteBuffer request_;
};

std::string Content(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 && argc != 4) {
    std::cerr << "usage: null_server PORT REPLY_FILE [PEM_FILE]\n";
    return 2;
  }
  grpc::Slice slice(Content(argv[2]));
  auto credentials = grpc::InsecureServerCredentials();
  if (argc == 4) {
    grpc::SslServerCredentialsOptions options;
    options.pem_key_cert_pairs.push_back({Content(argv[3]), Content(argv[3])});
    credentials = grpc::SslServerCredentials(options);
  }
  reply = grpc::ByteBuffer(&slice, 1);

  grpc::AsyncGenericService service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.RegisterAsyncGenericService(&service);
  builder.SetMaxReceiveMessageSize(-1);
  builder.AddListeningPort(std::string("127.0.0.1:") + argv[1], credentials, &port);
  auto queue = builder.AddCompletionQueue();
  auto server = builder.BuildAndStart();
  if (!server) return 1;
  for (int i = 0; i < 100; ++i) new Call(&service, queue.get());
  std::cout << port << std::endl;
  std::thread watch([] {
    std::cin.ignore(std::numeric_limits<std::streamsize>::max());
    std::_Exit(0);
  });
  watch.detach();
  void* tag;
  bool ok;
  while (queue->Next(&tag, &ok)) static_cast<Call*>(tag)->Proceed(ok);
}
