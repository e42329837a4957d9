#include "io/task.h"

#include <array>
#include <cstdlib>

#include "base/out_of_memory.h"

namespace tidemark::io::detail {
namespace {

// Frames are a few hundred bytes; larger ones go to the allocator.
constexpr std::size_t kClassBytes = 128;
constexpr std::size_t kClassCount = 16;
constexpr std::size_t kFreeFramesPerClassMax = 1024;

struct FreeFrame {
  FreeFrame* next;
};

struct FrameCache {
  std::array<FreeFrame*, kClassCount> heads{};
  std::array<std::size_t, kClassCount> counts{};
  ~FrameCache() {
    for (FreeFrame* head : heads) {
      while (head != nullptr) {
        FreeFrame* next = head->next;
        std::free(head);
        head = next;
      }
    }
  }
};

thread_local FrameCache frame_cache;

}  // namespace

void* allocate_frame(std::size_t size_bytes) {
  const std::size_t size_class = (size_bytes + kClassBytes - 1) / kClassBytes;
  if (size_class < kClassCount) {
    if (FreeFrame* frame = frame_cache.heads[size_class]) {
      frame_cache.heads[size_class] = frame->next;
      --frame_cache.counts[size_class];
      return frame;
    }
    size_bytes = size_class * kClassBytes;
  }
  void* memory = std::malloc(size_bytes);
  if (memory == nullptr) end_out_of_memory();
  return memory;
}

void free_frame(void* frame, std::size_t size_bytes) noexcept {
  const std::size_t size_class = (size_bytes + kClassBytes - 1) / kClassBytes;
  if (size_class < kClassCount && frame_cache.counts[size_class] < kFreeFramesPerClassMax) {
    auto* free_frame = static_cast<FreeFrame*>(frame);
    free_frame->next = frame_cache.heads[size_class];
    frame_cache.heads[size_class] = free_frame;
    ++frame_cache.counts[size_class];
    return;
  }
  std::free(frame);
}

}  // namespace tidemark::io::detail
