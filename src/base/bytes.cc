#include "base/bytes.h"

#include <isa-l/mem_routines.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "base/out_of_memory.h"

namespace tidemark {

// The count lives apart from the bytes, so that the bytes keep their alignment without a hole.
struct Buffer::Control {
  std::atomic<std::size_t> references{1};
  std::byte* memory = nullptr;
};

Buffer Buffer::allocate(std::size_t size_bytes) {
  Buffer buffer;
  if (size_bytes == 0) return buffer;
  const std::size_t rounded = (size_bytes + 4095) & ~std::size_t{4095};
  buffer.control_ = new Control;
  buffer.control_->memory = static_cast<std::byte*>(std::aligned_alloc(4096, rounded));
  if (buffer.control_->memory == nullptr) end_out_of_memory();
  buffer.data_ = buffer.control_->memory;
  buffer.size_ = size_bytes;
  return buffer;
}

Buffer Buffer::copy_of(Bytes bytes) {
  Buffer buffer = allocate(bytes.size());
  if (!bytes.empty()) std::memcpy(buffer.data_, bytes.data(), bytes.size());
  return buffer;
}

Buffer::Buffer(const Buffer& other) : control_(other.control_), data_(other.data_), size_(other.size_) {
  if (control_ != nullptr) control_->references.fetch_add(1, std::memory_order_relaxed);
}

Buffer::~Buffer() {
  if (control_ == nullptr) return;
  if (control_->references.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    std::free(control_->memory);
    delete control_;
  }
}

Buffer Buffer::slice(std::size_t begin, std::size_t length) const {
  TM_ASSERT(begin <= size_);
  TM_ASSERT(length <= size_ - begin);
  Buffer part = *this;
  part.data_ += begin;
  part.size_ = length;
  return part;
}

bool Buffer::unique() const {
  return control_ != nullptr && control_->references.load(std::memory_order_acquire) == 1;
}

Buffer zeroes(std::size_t size_bytes) {
  static const Buffer shared = [] {
    Buffer block = Buffer::allocate(kZeroesBytesMax);
    std::memset(block.data(), 0, block.size());
    return block;
  }();
  return shared.slice(0, size_bytes);
}

bool all_zero(Bytes bytes) {
  // ISA-L's signature is not const-correct; it only reads.
  return bytes.empty() || isal_zero_detect(const_cast<std::byte*>(bytes.data()), bytes.size()) == 0;
}

}  // namespace tidemark
