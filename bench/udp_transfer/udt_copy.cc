// A file over UDT, by its own sendfile() and recvfile(): what apps/ of UDT do, and the file synced
// before the receiver says that it has it. Built by ground.py, which finds libudt-dev or skips.
//
//   udt_copy receive ADDRESS PORT FOLDER   prints READY, takes one file after another
//   udt_copy send ADDRESS PORT FILE NAME
#include <arpa/inet.h>
#include <fcntl.h>
#include <udt/udt.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

namespace {

constexpr int kBlock = 1 << 20;

[[noreturn]] void Fail(const char* what) {
  std::fprintf(stderr, "udt_copy: %s: %s\n", what, UDT::getlasterror().getErrorMessage());
  std::exit(1);
}

sockaddr_in Address(const char* host, const char* port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(std::atoi(port)));
  if (inet_pton(AF_INET, host, &address.sin_addr) != 1) Fail("parse the address");
  return address;
}

template <typename T>
void SendAll(UDTSOCKET socket, const T* value, int size) {
  const char* bytes = reinterpret_cast<const char*>(value);
  for (int done = 0; done < size;) {
    const int n = UDT::send(socket, bytes + done, size - done, 0);
    if (n == UDT::ERROR) Fail("send");
    done += n;
  }
}

template <typename T>
bool ReceiveAll(UDTSOCKET socket, T* value, int size) {
  char* bytes = reinterpret_cast<char*>(value);
  for (int done = 0; done < size;) {
    const int n = UDT::recv(socket, bytes + done, size - done, 0);
    if (n == UDT::ERROR) return false;
    done += n;
  }
  return true;
}

int Send(char** argv) {
  const UDTSOCKET socket = UDT::socket(AF_INET, SOCK_STREAM, 0);
  const sockaddr_in peer = Address(argv[2], argv[3]);
  if (UDT::connect(socket, reinterpret_cast<const sockaddr*>(&peer), sizeof peer) == UDT::ERROR) {
    Fail("connect");
  }
  std::fstream file(argv[4], std::ios::in | std::ios::binary);
  file.seekg(0, std::ios::end);
  const std::int64_t size = file.tellg();
  file.seekg(0);
  const std::int32_t name_bytes = static_cast<std::int32_t>(std::strlen(argv[5]));
  SendAll(socket, &name_bytes, sizeof name_bytes);
  SendAll(socket, argv[5], name_bytes);
  SendAll(socket, &size, sizeof size);
  std::int64_t offset = 0;
  if (UDT::sendfile(socket, file, offset, size, kBlock) == UDT::ERROR) Fail("sendfile");
  char answer = 0;
  if (!ReceiveAll(socket, &answer, 1)) Fail("wait for the answer");
  UDT::close(socket);
  return 0;
}

void ReceiveOne(UDTSOCKET socket, const std::string& folder) {
  std::int32_t name_bytes = 0;
  std::int64_t size = 0;
  char name[256];
  if (!ReceiveAll(socket, &name_bytes, sizeof name_bytes) || name_bytes < 1 || name_bytes > 255 ||
      !ReceiveAll(socket, name, name_bytes) || !ReceiveAll(socket, &size, sizeof size)) {
    return;
  }
  const std::string path = folder + "/" + std::string(name, static_cast<std::size_t>(name_bytes));
  std::int64_t offset = 0;
  {
    std::fstream file(path, std::ios::out | std::ios::binary | std::ios::trunc);
    if (UDT::recvfile(socket, file, offset, size, kBlock) == UDT::ERROR) return;
  }
  const int written = open(path.c_str(), O_WRONLY);
  const char answer = written >= 0 && fsync(written) == 0 ? 1 : 0;
  close(written);
  SendAll(socket, &answer, 1);
}

int Receive(char** argv) {
  const UDTSOCKET listener = UDT::socket(AF_INET, SOCK_STREAM, 0);
  const sockaddr_in address = Address(argv[2], argv[3]);
  if (UDT::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) ==
          UDT::ERROR ||
      UDT::listen(listener, 10) == UDT::ERROR) {
    Fail("listen");
  }
  std::printf("READY udt_copy listen=%s:%s\n", argv[2], argv[3]);
  std::fflush(stdout);
  for (;;) {
    sockaddr_storage peer{};
    int length = sizeof peer;
    const UDTSOCKET socket = UDT::accept(listener, reinterpret_cast<sockaddr*>(&peer), &length);
    if (socket == UDT::INVALID_SOCK) Fail("accept");
    ReceiveOne(socket, argv[4]);
    UDT::close(socket);
  }
}

}  // namespace

int main(int argc, char** argv) {
  UDT::startup();
  if (argc == 5 && std::strcmp(argv[1], "receive") == 0) return Receive(argv);
  if (argc == 6 && std::strcmp(argv[1], "send") == 0) {
    const int code = Send(argv);
    UDT::cleanup();
    return code;
  }
  std::fprintf(stderr,
               "usage: udt_copy receive ADDRESS PORT FOLDER | send ADDRESS PORT FILE NAME\n");
  return 2;
}
