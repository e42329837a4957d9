// Blocks that are damaged on one node, as the other node of the pair has them.

#include "replication/pairs_entry.h"
#include "replication/query.h"

namespace tidemark::replication {

namespace {

constexpr Duration kConnectLimit = Duration::seconds(5);

}  // namespace

// Connects when it is asked first, and once more when the peer has hung up on a long silence. A peer that
// cannot be reached is not tried again: a verification that finds a thousand damages need not wait a thousand
// times.
class PeerCopies final : public group::OtherCopies {
 public:
  PeerCopies(Pairs& pairs, std::string group, std::string peer)
      : pairs_(pairs), group_(std::move(group)), peer_(std::move(peer)) {}

  std::string owner() const override { return peer_; }
  LogId newest() const override { return pairs_.newest_common(group_); }
  void end() override {
    unreachable_ = fail(ErrorCode::kClosed, "it is no longer wanted");
    if (link_ != nullptr) link_->close();
  }
  io::Task<Result<Buffer>> block(VolumeId volume, LogId at, std::uint64_t block) override {
    const BlockRange one{block, block + 1};
    for (int attempt = 0;; ++attempt) {
      if (link_ == nullptr) TM_CO_TRY(co_await connect());
      PeerQuery query(link_);
      auto copy = co_await query.blocks(volume, at, one);
      const bool hung_up =
          !copy.ok() && (copy.error().code == ErrorCode::kClosed || copy.error().code == ErrorCode::kTimeout);
      if (!hung_up) co_return copy;
      link_ = nullptr;
      if (attempt == 1) {
        unreachable_ = copy.error();
        co_return copy;
      }
    }
  }

 private:
  io::Task<Result<void>> connect() {
    if (unreachable_.has_value()) co_return *unreachable_;
    auto link = co_await pairs_.connect_to_ask(group_, kConnectLimit);
    if (!link.ok()) {
      unreachable_ = link.error();
      co_return link.error();
    }
    if (unreachable_.has_value()) co_return *unreachable_;
    link_ = std::move(link).value();
    co_return Result<void>{};
  }

  Pairs& pairs_;
  const std::string group_;
  const std::string peer_;
  std::shared_ptr<Link> link_;
  std::optional<Error> unreachable_;
};

LogId Pairs::newest_common(const std::string& name) const {
  const Entry* entry = find(name);
  if (entry == nullptr || entry->record.state == PairState::kSsws) return LogId();
  return entry->record.side == Side::kPrimary ? entry->peer_has() : entry->held();
}

io::Task<Result<std::shared_ptr<Link>>> Pairs::connect_to_ask(std::string name, Duration limit) {
  const Entry* entry = find(name);
  if (entry == nullptr) co_return no_pair(name);
  if (stopping_) co_return fail(ErrorCode::kShutdown, "the node is stopping");
  // The pair may go meanwhile, and nobody need wait for a command on it that runs.
  PairRecord record = entry->record;
  const GroupIdentity group = entry->group->identity();
  std::shared_ptr<LinkTraffic> traffic = entry->traffic;
  co_return co_await introduce(std::move(record), group, std::move(name), format::HelloIntent::kQuery,
                               LogId(), limit, std::move(traffic));
}

Result<std::shared_ptr<group::OtherCopies>> Pairs::other_copies(const std::string& name) {
  Entry* entry = find(name);
  if (entry == nullptr) return no_pair(name);
  TM_TRY(check_pair_command(PairCommand::kVerify, entry->record, name));
  return std::shared_ptr<group::OtherCopies>(
      std::make_shared<PeerCopies>(*this, name, entry->record.peer_name));
}

}  // namespace tidemark::replication
