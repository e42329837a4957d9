#include <array>

#include "base/assert.h"
#include "index/answer.h"
#include "index/memory_table.h"
#include "index/version_index.h"

namespace tidemark::index {
namespace {

// Nothing forces a run here; wishing for one now and then lets simulation go down that road.
constexpr std::uint64_t kKeysPerPersist = 4096;
// A sweep costs as much as it may free: it waits for this many inserts and for half as many as there are
// keys.
constexpr std::uint64_t kInsertsPerSweepMin = 16;

// The table alone. Runs exist only as the place given to persist(): what was inserted stays in memory, and a
// crash, which takes the object, takes all of it. Reactor thread only; no operation fails until close().
class MemoryIndex final : public VersionIndex {
 public:
  void insert_data(VolumeId volume, BlockRange blocks, LogId id, Place place,
                   const std::vector<std::uint32_t>& checksums) override {
    table_->insert_data(volume, blocks, id, place, checksums);
    after_insert();
  }

  void insert_zero(VolumeId volume, BlockRange blocks, LogId id, Place place) override {
    table_->insert_zero(volume, blocks, id, place);
    after_insert();
  }

  io::Task<Result<void>> lookup(VolumeId volume, BlockRange blocks, const Path& path, std::vector<Piece>& out,
                                std::size_t pieces_max) override {
    if (closed_) co_return fail(ErrorCode::kClosed, "the version index is closed");
    answer(volume, blocks, path, out, pieces_max);
    co_return Result<void>{};
  }

  bool lookup_now(VolumeId volume, BlockRange blocks, const Path& path, std::vector<Piece>& out) override {
    if (closed_) return false;
    answer(volume, blocks, path, out, SIZE_MAX);
    return true;
  }

  bool wants_persist() const override { return inserts_since_persist_ >= kKeysPerPersist; }

  io::Task<Result<void>> persist(Place resume, UntilDurable until_durable) override {
    if (until_durable) TM_CO_TRY(co_await until_durable());
    if (closed_) co_return fail(ErrorCode::kClosed, "the version index is closed");
    resume_ = resume;
    inserts_since_persist_ = 0;
    co_return Result<void>{};
  }

  Place resume_place() const override { return resume_; }
  void drop_before(Place bound) override { bound_ = std::max(bound_, bound); }

  io::Task<Result<void>> clear() override {
    table_ = std::make_unique<MemoryTable>();
    resume_ = Place{};
    inserts_since_persist_ = 0;
    inserts_since_sweep_ = 0;
    co_return Result<void>{};
  }

  io::Task<Result<std::unique_ptr<VersionIndex>>> make_successor() override {
    if (closed_) co_return fail(ErrorCode::kClosed, "the version index is closed");
    co_return make_memory_index();
  }

  void retire() override {}

  IndexStatus status() const override {
    return {.keys_in_memory = table_->keys(),
            .memory_bytes = table_->memory_bytes(),
            .runs_bytes_on_disk = 0,
            .lookups = lookups_,
            .lookups_beyond_memory = 0};
  }

  io::Task<void> close() override {
    closed_ = true;
    co_return;
  }

 private:
  void after_insert() {
    ++inserts_since_persist_;
    ++inserts_since_sweep_;
    if (bound_ <= swept_to_ || inserts_since_sweep_ < kInsertsPerSweepMin + table_->keys() / 2) return;
    auto kept = std::make_unique<MemoryTable>();
    kept->insert_all(*table_, bound_, true);
    table_ = std::move(kept);
    swept_to_ = bound_;
    inserts_since_sweep_ = 0;
  }

  void answer(VolumeId volume, BlockRange blocks, const Path& path, std::vector<Piece>& out,
              std::size_t pieces_max) {
    ++lookups_;
    PieceBuilder builder(out, pieces_max);
    const std::array<const HitSet*, 1> sets{&hits_};
    // Hits that join into one piece may exhaust a round before the pieces do.
    while (!blocks.empty()) {
      hits_.clear();
      const std::size_t hits_max = std::max<std::size_t>(std::min(pieces_max, kHitsPerRoundMax), 1);
      const std::uint64_t end = collect_from_table(*table_, volume, blocks, path, hits_max, hits_);
      const std::uint64_t reached = sweep(sets, BlockRange{blocks.begin, end}, builder);
      blocks.begin = reached;
      if (reached < end) return;
    }
  }

  std::unique_ptr<MemoryTable> table_ = std::make_unique<MemoryTable>();
  HitSet hits_;
  Place resume_{};
  Place bound_{};
  Place swept_to_{};
  std::uint64_t inserts_since_persist_ = 0;
  std::uint64_t inserts_since_sweep_ = 0;
  std::uint64_t lookups_ = 0;
  bool closed_ = false;
};

}  // namespace

std::unique_ptr<VersionIndex> make_memory_index() {
  return std::make_unique<MemoryIndex>();
}

}  // namespace tidemark::index
