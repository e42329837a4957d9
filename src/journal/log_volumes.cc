#include "journal/log_volumes.h"

#include <algorithm>

namespace tidemark::journal {

const LogVolumes::Further* LogVolumes::find(DiskOffset offset) const {
  const auto after = std::ranges::upper_bound(further_, offset.value, {}, &Further::begin);
  if (after == further_.begin()) return nullptr;
  const Further& found = *std::prev(after);
  TM_ASSERT(offset.value - found.begin < found.disk->size_bytes());
  return &found;
}

std::uint32_t& LogVolumes::in_flight(std::uint64_t begin) {
  const auto found = std::ranges::find(further_, begin, &Further::begin);
  TM_ASSERT(found != further_.end());
  return found->in_flight;
}

void LogVolumes::add(std::uint64_t begin, io::Disk& disk) {
  TM_ASSERT(further_.empty() || further_.back().begin + further_.back().disk->size_bytes() <= begin);
  further_.push_back({begin, &disk, 0});
}

io::Task<void> LogVolumes::remove(std::uint64_t begin) {
  while (in_flight(begin) > 0) co_await ended_.wait();
  std::erase_if(further_, [begin](const Further& volume) { return volume.begin == begin; });
}

std::uint64_t LogVolumes::offset_on_volume(DiskOffset offset) const {
  const Further* volume = find(offset);
  return volume == nullptr ? offset.value : offset.value - volume->begin;
}

io::Task<Result<void>> LogVolumes::follow(std::uint64_t begin, io::Task<Result<void>> operation) {
  // A task that is destroyed has ended too.
  struct Counted {
    explicit Counted(LogVolumes* log_volumes, std::uint64_t volume_begin)
        : volumes(log_volumes), at(volume_begin) {
      ++volumes->in_flight(at);
    }
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;
    ~Counted() {
      if (--volumes->in_flight(at) == 0) volumes->ended_.wake_all();
    }
    LogVolumes* volumes;
    std::uint64_t at;
  };
  const Counted counted(this, begin);
  co_return co_await operation;
}

std::uint64_t LogVolumes::size_bytes() const {
  return further_.empty() ? first_.size_bytes() : further_.back().begin + further_.back().disk->size_bytes();
}

io::Task<Result<void>> LogVolumes::read(DiskOffset offset, Buffer out) {
  const Further* volume = find(offset);
  if (volume == nullptr) return first_.read(offset, std::move(out));
  return follow(volume->begin, volume->disk->read(DiskOffset{offset.value - volume->begin}, std::move(out)));
}

io::Task<Result<void>> LogVolumes::write(DiskOffset offset, std::vector<Buffer> pieces,
                                         io::Durability durability) {
  const Further* volume = find(offset);
  if (volume == nullptr) return first_.write(offset, std::move(pieces), durability);
  const DiskOffset at{offset.value - volume->begin};
  return follow(volume->begin, volume->disk->write(at, std::move(pieces), durability));
}

io::Task<Result<void>> LogVolumes::flush() {
  TM_CO_TRY(co_await first_.flush());
  std::vector<std::uint64_t> begins;
  for (const Further& volume : further_) begins.push_back(volume.begin);
  for (const std::uint64_t begin : begins) {
    // One that was removed meanwhile holds nothing that counts.
    const auto volume = std::ranges::find(further_, begin, &Further::begin);
    if (volume != further_.end()) TM_CO_TRY(co_await follow(begin, volume->disk->flush()));
  }
  co_return Result<void>{};
}

io::Task<Result<void>> LogVolumes::allocate(DiskOffset offset, std::uint64_t length_bytes) {
  const Further* volume = find(offset);
  if (volume == nullptr) return first_.allocate(offset, length_bytes);
  const DiskOffset at{offset.value - volume->begin};
  return follow(volume->begin, volume->disk->allocate(at, length_bytes));
}

io::Task<Result<void>> LogVolumes::discard(DiskOffset offset, std::uint64_t length_bytes) {
  const Further* volume = find(offset);
  if (volume == nullptr) return first_.discard(offset, length_bytes);
  const DiskOffset at{offset.value - volume->begin};
  return follow(volume->begin, volume->disk->discard(at, length_bytes));
}

io::Task<Result<void>> LogVolumes::read_other_copies(DiskOffset offset, Buffer out,
                                                     std::function<bool(Bytes)> is_right) {
  const Further* volume = find(offset);
  if (volume == nullptr) return first_.read_other_copies(offset, std::move(out), std::move(is_right));
  const DiskOffset at{offset.value - volume->begin};
  return follow(volume->begin, volume->disk->read_other_copies(at, std::move(out), std::move(is_right)));
}

io::Task<Result<void>> LogVolumes::peek(DiskOffset offset, Buffer out) {
  const Further* volume = find(offset);
  if (volume == nullptr) return first_.peek(offset, std::move(out));
  return follow(volume->begin, volume->disk->peek(DiskOffset{offset.value - volume->begin}, std::move(out)));
}

io::Task<Result<void>> LogVolumes::peek_other_copies(DiskOffset offset, Buffer out,
                                                     std::function<bool(Bytes)> is_right) {
  const Further* volume = find(offset);
  if (volume == nullptr) return first_.peek_other_copies(offset, std::move(out), std::move(is_right));
  const DiskOffset at{offset.value - volume->begin};
  return follow(volume->begin, volume->disk->peek_other_copies(at, std::move(out), std::move(is_right)));
}

}  // namespace tidemark::journal
