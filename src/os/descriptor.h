#pragma once

#include <memory>
#include <string>
#include <utility>

namespace tidemark::os {

// Owns a file descriptor and closes it.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor();

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// Held by an object and by each of its operations in flight, so that the number cannot be closed, and
// given to another file, under an operation.
using SharedDescriptor = std::shared_ptr<const Descriptor>;

// "No space left on device (ENOSPC)".
std::string errno_text(int error);

}  // namespace tidemark::os
