#include "raid/stripe_journal.h"

#include <algorithm>
#include <string>

#include "base/crc32c.h"

namespace tidemark::raid {

namespace {

constexpr std::uint64_t kScanBytes = 1 << 20;  // read at once when the ring is searched

}  // namespace

StripeJournal::StripeJournal(MemberSet& members)
    : members_(members),
      ring_bytes_(members.geometry().shape().journal_bytes),
      room_mutex_(members.scheduler()),
      begin_mutex_(members.scheduler()),
      progress_(members.scheduler()) {}

void StripeJournal::in_place(std::uint64_t sequence) {
  ++clock_;
  for (Entry& entry : entries_) {
    if (entry.sequence == sequence) entry.in_place_at = clock_;
  }
  progress_.wake_all();
}

void StripeJournal::flushed(std::uint64_t mark) {
  for (Entry& entry : entries_) {
    if (entry.in_place_at != 0 && entry.in_place_at <= mark) entry.is_flushed = true;
  }
}

bool StripeJournal::has_entries_on_fewer_than(std::size_t copies) const {
  return std::ranges::any_of(entries_, [this, copies](const Entry& entry) {
    const auto left = std::ranges::count_if(members_.all(), [&entry](const Member& member) {
      return member.in_sync() && std::ranges::find(entry.holders, member.record.disk) != entry.holders.end();
    });
    return !entry.is_flushed && static_cast<std::size_t>(left) < copies;
  });
}

// Entries do not wrap, and a full ring is told from an empty one by keeping a block free.
bool StripeJournal::take_room(std::uint64_t length_bytes, std::uint64_t* position) const {
  *position = 0;
  if (entries_.empty()) return true;
  const std::uint64_t tail = entries_.front().position;
  const std::uint64_t head = entries_.back().position + entries_.back().length_bytes;
  *position = head;
  if (head < tail) return head + length_bytes < tail;
  if (head + length_bytes <= ring_bytes_) return true;
  *position = 0;
  return length_bytes < tail;
}

io::Task<Result<void>> StripeJournal::write_begin() {
  const auto guard = co_await begin_mutex_.lock();
  Buffer block = Buffer::allocate(kBlockSizeBytes);
  std::ranges::fill(block.writable(), std::byte{0});
  const std::uint64_t begin = entries_.empty() ? next_sequence_ : entries_.front().sequence;
  format::encode_journal_trim(members_.raid(), begin, block.writable().first(format::kRaidSectorBytes));
  co_return co_await members_.write_heads(format::kRaidTrimOffset, block);
}

// One entry at least becomes dead, or was so already. Under room_mutex_.
io::Task<Result<void>> StripeJournal::make_room() {
  while (!entries_.empty() && entries_.front().in_place_at == 0) {
    if (members_.broken().has_value()) co_return *members_.broken();
    co_await progress_.wait();
  }
  if (entries_.empty()) co_return Result<void>{};
  if (!entries_.front().is_flushed) {
    const std::uint64_t before = mark();
    TM_CO_TRY(co_await members_.flush());
    flushed(before);
  }
  std::size_t dead = 0;
  while (dead < entries_.size() && entries_[dead].is_flushed) ++dead;
  const auto guard = co_await begin_mutex_.lock();
  Buffer block = Buffer::allocate(kBlockSizeBytes);
  std::ranges::fill(block.writable(), std::byte{0});
  const std::uint64_t begin = entries_[dead - 1].sequence + 1;
  format::encode_journal_trim(members_.raid(), begin, block.writable().first(format::kRaidSectorBytes));
  TM_CO_TRY(co_await members_.write_heads(format::kRaidTrimOffset, block));
  entries_.erase(entries_.begin(), entries_.begin() + static_cast<std::ptrdiff_t>(dead));
  co_return Result<void>{};
}

io::Task<Result<void>> StripeJournal::retire(std::uint64_t begin, std::uint64_t end) {
  const auto overlaps = [this, begin, end] {
    return std::ranges::any_of(
        entries_, [begin, end](const Entry& entry) { return entry.begin < end && begin < entry.end; });
  };
  while (overlaps()) {
    const auto guard = co_await room_mutex_.lock();
    if (!overlaps()) break;
    TM_CO_TRY(co_await make_room());
  }
  co_return Result<void>{};
}

io::Task<Result<void>> StripeJournal::retire_all() {
  const std::uint64_t end = next_sequence_;
  while (!entries_.empty() && entries_.front().sequence < end) {
    const auto guard = co_await room_mutex_.lock();
    if (entries_.empty() || entries_.front().sequence >= end) break;
    TM_CO_TRY(co_await make_room());
  }
  co_return Result<void>{};
}

std::vector<MemberSet::Place> StripeJournal::choose_holders(std::uint64_t sequence) const {
  const std::uint32_t wanted = members_.geometry().parities() + 1;
  std::vector<MemberSet::Place> places;
  for (std::uint32_t i = 0; i < members_.count() && places.size() < wanted; ++i) {
    const auto index = static_cast<std::uint32_t>((sequence + i) % members_.count());
    if (members_.all()[index].in_sync()) places.push_back(members_.place(index));
  }
  return places;
}

io::Task<Result<void>> StripeJournal::write_copies(std::vector<MemberSet::Place> places,
                                                   std::uint64_t position, std::vector<Buffer> pieces) {
  std::vector<Result<void>> results(places.size());
  std::vector<io::Task<void>> tasks;
  for (std::size_t i = 0; i < places.size(); ++i) {
    tasks.push_back(store_result(
        members_.write_head(places[i].index, format::kRaidJournalOffset + position, pieces), &results[i]));
  }
  co_await run_all(members_.scheduler(), std::move(tasks));
  co_return co_await members_.judge(std::move(places), std::move(results), "a write to the stripe journal");
}

io::Task<Result<std::uint64_t>> StripeJournal::append(std::vector<MemberBytes> writes) {
  format::StripeEntry header;
  std::vector<Buffer> pieces(1, Buffer::allocate(kBlockSizeBytes));
  Entry entry;
  entry.begin = UINT64_MAX;
  std::uint32_t crc = 0;
  for (const MemberBytes& write : writes) entry.length_bytes += write.length_bytes;
  entry.length_bytes += kBlockSizeBytes;
  while (!take_room(entry.length_bytes, &entry.position)) {
    const auto guard = co_await room_mutex_.lock();
    if (take_room(entry.length_bytes, &entry.position)) break;
    TM_CO_TRY(co_await make_room());
  }
  // From here to the insertion nothing waits.
  for (const MemberBytes& write : writes) {
    // A member that failed while we waited takes part no more, nor does the disk that is in its place now.
    if (!members_.writable(write.member, write.offset, write.offset + write.length_bytes)) continue;
    format::JournalExtent extent;
    extent.member = static_cast<std::uint16_t>(write.member);
    extent.offset = write.offset;
    extent.length_bytes = static_cast<std::uint32_t>(write.length_bytes);
    header.extents.push_back(extent);
    entry.begin = std::min(entry.begin, write.offset);
    entry.end = std::max(entry.end, write.offset + write.length_bytes);
    for (const Buffer& piece : write.pieces) {
      crc = crc32c_extend(crc, piece);
      pieces.push_back(piece);
    }
  }
  TM_ASSERT(header.payload_bytes() <= format::kStripePayloadBytesMax);
  entry.length_bytes = kBlockSizeBytes + header.payload_bytes();
  entry.sequence = next_sequence_++;
  header.sequence = entry.sequence;
  header.position = entry.position;
  header.payload_crc = crc;
  format::encode_stripe_entry(header, members_.raid(), pieces[0].writable());
  std::vector<MemberSet::Place> holders = choose_holders(entry.sequence);
  for (const MemberSet::Place& holder : holders) entry.holders.push_back(holder.disk);
  entries_.push_back(entry);
  auto written = co_await write_copies(std::move(holders), header.position, std::move(pieces));
  if (!written.ok()) {
    progress_.wake_all();
    co_return written.error();
  }
  co_return header.sequence;
}

// ---- After a crash ----

io::Task<Result<std::uint64_t>> StripeJournal::load_begin() {
  std::uint64_t begin = 0;
  Buffer block = Buffer::allocate(kBlockSizeBytes);
  std::string why;
  bool known = false;
  for (std::uint32_t i = 0; i < members_.count(); ++i) {
    if (!members_.all()[i].in_sync()) continue;
    const auto read = co_await members_.read_head(i, format::kRaidTrimOffset, block);
    if (!read.ok()) {
      why = members_.describe(i) + ": " + read.error().message;
      continue;
    }
    const auto found =
        format::decode_journal_trim(Bytes(block).first(format::kRaidSectorBytes), members_.raid());
    if (!found.ok()) {
      why = members_.describe(i) + ": " + found.error().message;
      continue;
    }
    known = true;
    begin = std::max(begin, *found);
  }
  if (!known) {
    co_return fail(
        ErrorCode::kDamaged,
        "RAID group '" + members_.name() + "': no member says where its stripe journal begins (" + why + ")");
  }
  co_return begin;
}

io::Task<Result<void>> StripeJournal::scan(std::uint32_t member, std::uint64_t begin,
                                           std::map<std::uint64_t, Found>* found) {
  for (std::uint64_t at = 0; at < ring_bytes_; at += kScanBytes) {
    const std::uint64_t step = std::min(kScanBytes, ring_bytes_ - at);
    Buffer bytes = Buffer::allocate(step);
    auto read = co_await members_.read_head(member, format::kRaidJournalOffset + at, bytes);
    for (std::uint64_t block = 0; block < step; block += kBlockSizeBytes) {
      const Buffer one = bytes.slice(block, kBlockSizeBytes);
      // Where something cannot be read, the rest is; an entry lost here lies on another member.
      if (!read.ok()) {
        const auto again = co_await members_.read_head(member, format::kRaidJournalOffset + at + block, one);
        if (!again.ok()) continue;
      }
      auto entry = format::decode_stripe_entry(one, members_.raid(), members_.geometry().shape(), at + block);
      if (!entry.ok() || entry->sequence < begin) continue;
      Found& place = (*found)[entry->sequence];
      if (place.members.empty()) place.entry = *entry;
      if (place.entry == *entry) place.members.push_back(member);
    }
  }
  co_return Result<void>{};
}

io::Task<Result<void>> StripeJournal::replay_entry(Found found, std::uint64_t* replayed) {
  const format::StripeEntry& entry = found.entry;
  Buffer payload = Buffer::allocate(entry.payload_bytes());
  bool whole = false;
  for (const std::uint32_t member : found.members) {
    const auto read = co_await members_.read_head(
        member, format::kRaidJournalOffset + entry.position + kBlockSizeBytes, payload);
    whole = read.ok() && crc32c(payload) == entry.payload_crc;
    if (whole) break;
  }
  // No whole copy: it was being written when power failed, and nothing of it is in place.
  if (!whole) co_return Result<void>{};
  ++*replayed;
  std::uint64_t at = 0;
  for (const format::JournalExtent& extent : entry.extents) {
    std::vector<Buffer> pieces(1, payload.slice(at, extent.length_bytes));
    at += extent.length_bytes;
    if (!members_.in_use(extent.member)) continue;
    const MemberSet::Place place = members_.place(extent.member);
    auto written =
        co_await members_.write(extent.member, extent.offset, std::move(pieces), io::Durability::kVolatile);
    if (!written.ok()) {
      TM_CO_TRY(co_await members_.lost(place, "a write of the stripe journal's replay", written.error()));
    }
  }
  co_return Result<void>{};
}

io::Task<Result<std::uint64_t>> StripeJournal::replay() {
  TM_CO_TRY_ASSIGN(const std::uint64_t begin, co_await load_begin());
  std::map<std::uint64_t, Found> found;
  for (std::uint32_t i = 0; i < members_.count(); ++i) {
    if (members_.in_use(i) && members_.all()[i].in_sync()) TM_CO_TRY(co_await scan(i, begin, &found));
  }
  std::uint64_t replayed = 0;
  next_sequence_ = begin;
  for (const auto& [sequence, entry] : found) {
    TM_CO_TRY(co_await replay_entry(entry, &replayed));
    next_sequence_ = sequence + 1;
  }
  TM_CO_TRY(co_await members_.flush());
  TM_CO_TRY(co_await write_begin());
  co_return replayed;
}

}  // namespace tidemark::raid
