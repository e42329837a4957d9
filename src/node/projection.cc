// The management tables: what the node knows, written to the catalogue for people and programs to read. They
// lag by up to a second; a catalogue that is lost is written anew.

#include <algorithm>
#include <deque>
#include <iterator>
#include <utility>

#include "base/log_field.h"
#include "node/node.h"

namespace tidemark::node {
namespace {

constexpr Duration kProjectInterval = Duration::seconds(1);
// Batches turned into rows in one round; the rest follows in the next.
constexpr std::size_t kBatchesPerRoundMax = 20'000;

std::string mark_state(const control::MarkInfo& info) {
  if (!info.restorable) return "expired";
  if (info.held) return "held";
  return info.live ? "live" : "branch";
}

catalog::LogIdRow log_id_row(const std::string& group, const format::BatchMeta& meta) {
  return catalog::LogIdRow{group, meta.first, meta.last(), meta.entries.front().timer,
                           meta.entries.back().timer};
}

catalog::LogIdRow summary_row(const std::string& group, const journal::BatchSummary& batch) {
  return catalog::LogIdRow{group, batch.first, batch.last, batch.first_timer, batch.last_timer};
}

catalog::Change trim_log_ids(const std::string& group, LogId floor) {
  return catalog::TrimLogIds{group, floor};
}

catalog::Query plain_query(const control::TableRequest& request) {
  return {.table = request.name,
          .group = request.group,
          .log_id = {},
          .mark_id = {},
          .time = {},
          .after = request.after,
          .limit = request.limit};
}

bool is_expired(const Result<void>& readable) {
  return !readable.ok() && readable.error().code == ErrorCode::kExpired;
}

control::TableCheckReply check_reply(const std::vector<catalog::TableCheck>& checks) {
  control::TableCheckReply reply;
  for (const catalog::TableCheck& check : checks) {
    reply.good = reply.good && check.missing + check.foreign == 0;
    reply.tables.push_back({check.name, check.rows, check.missing, check.foreign, check.examples});
  }
  return reply;
}

control::TableReply table_reply(catalog::Table table) {
  return {std::move(table.name), std::move(table.columns), std::move(table.rows), table.next};
}

}  // namespace

io::Task<void> Node::project() {
  std::string told;  // the same trouble is told once, not every second
  while (!stopping_) {
    auto written = co_await write_rows();
    const std::string trouble = written.ok() ? std::string() : written.error().message;
    if (!trouble.empty() && trouble != told) log_("catalogue-behind", log_field("reason", trouble));
    told = trouble;
    storage_.watch();
    (void)co_await stop_wanted_.wait_until(environment_.scheduler.now() + kProjectInterval);
  }
}

catalog::Changes Node::collect_rows() {
  using catalog::TableName;
  catalog::Changes rows;
  for (const TableName table :
       {TableName::kNode, TableName::kDeviceAddress, TableName::kRaidAddress, TableName::kVolume,
        TableName::kPair, TableName::kLogVolumeGroup, TableName::kMarkId}) {
    rows.push_back(catalog::ClearTable{table});
  }
  rows.push_back(
      catalog::NodeRow{configuration_.identity, configuration_.name, configuration_.version, started_});
  std::map<PoolNumber, NodeStorage::DiskNames> disk_names;
  for (const pool::Pool* pool : storage_.pools().all()) {
    disk_names[pool->number()] = storage_.disk_names(pool->number());
  }
  for (const auto& [name, group] : groups_) {
    const control::GroupInfo info = group_info(*group);
    for (const control::VolumeInfo& volume : info.volumes) {
      const LuNumber lu{volume.lu_number};
      const std::string state = info.state == control::GroupState::kStopped ? "stopped" : "open";
      rows.push_back(catalog::VolumeRow{lu, catalog::VolumeKind::kData, name, volume.volume,
                                        VolumeId{volume.number}, volume.size_bytes, volume.allocated_bytes,
                                        state});
      rows.push_back(catalog::DeviceAddressRow{name + "/" + volume.volume, 0, volume.size_bytes, name,
                                               volume.volume, lu, 0});
      const pool::DataVolume* base = storage_.pools().data_volume(lu);
      if (base == nullptr) continue;
      const PoolNumber pool = pool::pool_of(lu);
      const NodeStorage::DiskNames& names = disk_names[pool];
      std::uint64_t block = 0;
      while (const std::optional<BlockRange> run = base->next_allocated(block)) {
        constexpr std::uint64_t kExtentBlocks = 1024;
        for (std::uint64_t at = run->begin; at < run->end; at += kExtentBlocks) {
          const pool::AddressTranslation place = base->translate(at * kBlockSizeBytes);
          if (!place.allocated) continue;
          const std::uint64_t end = std::min(run->end, (at / kExtentBlocks + 1) * kExtentBlocks);
          const control::DiskPlace disk = storage_.places_of(pool, names, place.disk_offset).front();
          rows.push_back(catalog::RaidAddressRow{lu, at * kBlockSizeBytes, (end - at) * kBlockSizeBytes,
                                                 names.raid_group, place.disk_offset.value, disk.disk,
                                                 disk.address_bytes});
        }
        block = run->end;
      }
      if (info.pair.has_value()) {
        const bool primary = info.pair->role == control::GroupRole::kPrimary;
        const std::string role = primary ? "primary" : "secondary";
        const auto status = pairs_->status(name);
        LuNumber peer_lu{};  // 0 while the peer has not told it
        for (const format::UnitOfVolume& unit : status->peer_units) {
          if (unit.volume == VolumeId{volume.number}) peer_lu = unit.unit;
        }
        rows.push_back(
            catalog::PairRow{name, volume.volume, primary ? configuration_.name : info.pair->peer_node,
                             primary ? lu : peer_lu, primary ? info.pair->peer_node : configuration_.name,
                             primary ? peer_lu : lu, role, replication::pair_state_name(status->record.state),
                             status->record.sync.has_value() ? "sync" : "async", info.pair->peer_address});
      }
    }
    add_log_volume_rows(*group, disk_names, rows);
    for (const auto& [id, mark] : group->state().marks()) {
      const control::MarkInfo mark_row = mark_info(*group, mark);
      rows.push_back(catalog::MarkIdRow{name, id, mark.at, mark.timer, mark_row.host_time, mark.host,
                                        mark.note, mark_state(mark_row)});
    }
  }
  return rows;
}

void Node::add_log_volume_rows(const group::Group& group,
                               const std::map<PoolNumber, NodeStorage::DiskNames>& disk_names,
                               catalog::Changes& rows) const {
  const std::uint64_t segment_bytes = group.journal().status().segment_size_bytes;
  for (const group::GroupLogVolume& volume : group.log_volumes()) {
    const std::uint64_t capacity_bytes = volume.status.segments_total * segment_bytes;
    const std::string state = volume.status.leaving ? "leaving" : "open";
    catalog::VolumeRow row;
    row.lu_number = volume.number;
    row.kind = catalog::VolumeKind::kLog;
    row.group = group.name();
    row.size_bytes = row.allocated_bytes = volume.size_bytes;
    row.state = state;
    rows.push_back(row);
    const PoolNumber pool = pool::pool_of(volume.number);
    const NodeStorage::DiskNames& names = disk_names.at(pool);
    const DiskOffset offset = storage_.pools().log_volume_offset(volume.number);
    const control::DiskPlace disk = storage_.places_of(pool, names, offset).front();
    rows.push_back(catalog::RaidAddressRow{volume.number, 0, volume.size_bytes, names.raid_group,
                                           offset.value, disk.disk, disk.address_bytes});
    rows.push_back(catalog::LogVolumeGroupRow{group.name(), volume.number, capacity_bytes,
                                              volume.status.segments_used * segment_bytes,
                                              volume.status.first, volume.status.last, state});
  }
}

io::Task<Result<void>> Node::write_rows() {
  auto guard = co_await catalog_mutex_.lock();
  co_return co_await write_rows_locked();
}

// The rows of entries that fell below the floor. `epochs` have rows; those that are over leave it.
void Node::drop_what_expired(const std::string& name, std::set<Epoch>& epochs, catalog::Changes& rows) {
  const group::Group* group = find_group(name);
  if (group == nullptr) return;
  const LogId floor = group->local().floor;
  if (floor.sequence() > 0) rows.push_back(trim_log_ids(name, floor));
  std::erase_if(epochs, [&](Epoch epoch) {
    const index::EpochInfo* info = group->state().epochs().find(epoch);
    const bool is_over = info == nullptr || (epoch != floor.epoch() && epoch != group->head().epoch() &&
                                             is_expired(group->check_readable(info->last)));
    if (is_over) rows.push_back(catalog::RemoveLogIds{name, epoch});
    return is_over;
  });
}

io::Task<Result<void>> Node::write_rows_locked() {
  auto rows = std::make_shared<catalog::Changes>(collect_rows());
  // What a group of the same name has now comes after that; of one that goes meanwhile, in the next round.
  const std::set<std::string> gone = std::exchange(unprojected_, {});
  const std::map<std::string, std::set<Epoch>> epochs_before = projected_epochs_;
  for (const std::string& name : gone) rows->insert(rows->begin(), catalog::RemoveGroup{name});
  // A row for each batch that has become durable since the last round; all of them in the first, so that
  // nothing stays of what damage may have made of the rows that are there.
  const std::map<std::string, Place> before = projected_;
  if (before.empty()) rows->push_back(catalog::ClearTable{catalog::TableName::kLogId});
  std::vector<std::string> names;
  for (const auto& [name, group] : groups_) names.push_back(name);
  rows_left_ = false;
  for (const std::string& name : names) {
    std::size_t batches = 0;
    while (batches < kBatchesPerRoundMax) {
      const GroupHandle group = hold_group(name);
      if (group == nullptr || unprojected_.contains(name)) break;
      Place& from = projected_[name];
      from = std::max(from, group->journal().oldest());
      const Place place = from;
      auto batch = co_await group->journal().scan_summary(place);
      if (!batch.ok() || !batch->has_value() || unprojected_.contains(name)) break;
      const journal::BatchSummary& summary = **batch;
      rows->push_back(summary_row(name, summary));
      projected_epochs_[name].insert(summary.first.epoch());
      projected_[name] = summary.next;
      ++batches;
    }
    if (batches == kBatchesPerRoundMax) rows_left_ = true;
    drop_what_expired(name, projected_epochs_[name], *rows);
  }
  const Result<void> outcome = co_await apply_rows(rows);
  if (!outcome.ok()) {  // nothing of it is there
    std::erase_if(projected_, [&before](const auto& entry) { return !before.contains(entry.first); });
    for (auto& [name, place] : projected_) place = before.at(name);
    unprojected_.insert(gone.begin(), gone.end());
    keep_epochs_of(epochs_before);
  }
  co_return outcome;
}

// A change was not made: the rows of these epochs are there still.
void Node::keep_epochs_of(const std::map<std::string, std::set<Epoch>>& before) {
  for (const auto& [name, epochs] : before) {
    if (groups_.contains(name) && !unprojected_.contains(name))
      projected_epochs_[name].insert(epochs.begin(), epochs.end());
  }
}

io::Task<Result<void>> Node::apply_rows(std::shared_ptr<catalog::Changes> rows) {
  auto outcome = std::make_shared<Result<void>>();
  const std::shared_ptr<catalog::Catalog> catalog = catalog_;
  std::function<void()> work = [catalog, rows, outcome] { *outcome = catalog->apply(*rows); };
  co_await environment_.offload.run(std::move(work));
  co_return *outcome;
}

// Of all groups, as far as they have been written; and what expired meanwhile goes from the table too. The
// oldest rows of a group that has more than the table keeps are not to be compared: the answer is since when
// they are.
io::Task<Result<WallTime>> Node::collect_log_ids(std::shared_ptr<catalog::Changes> rows) {
  WallTime since;
  auto late = std::make_shared<catalog::Changes>();
  const std::map<std::string, std::set<Epoch>> epochs_before = projected_epochs_;
  const std::map<std::string, Place> written = projected_;
  for (const auto& [name, end] : written) {
    Place at;
    std::set<Epoch> epochs;
    std::deque<catalog::LogIdRow> newest;
    while (const GroupHandle group = hold_group(name)) {
      at = std::max(at, group->journal().oldest());
      auto batch = co_await group->journal().scan(at);
      if (!batch.ok() && batch.error().code == ErrorCode::kExpired) continue;
      // Rows of what cannot be read now may have been written when it could be.
      if (!batch.ok()) {
        co_return fail(batch.error().code, "the journal of group '" + name +
                                               "' cannot be read to its end, so its "
                                               "rows are left as they are: " +
                                               batch.error().message);
      }
      if (!batch->has_value() || (*batch)->place >= end) break;
      const format::BatchMeta& meta = (*batch)->meta;
      newest.push_back(log_id_row(name, meta));
      epochs.insert(meta.first.epoch());
      if (newest.size() > catalog::kLogIdRowsMax / 2) {
        newest.pop_front();
        since = std::max(since, newest.front().first_timer);
      }
      at = (*batch)->next;
    }
    rows->insert(rows->end(), newest.begin(), newest.end());
    drop_what_expired(name, epochs, *rows);
    drop_what_expired(name, projected_epochs_[name], *late);
  }
  const Result<void> applied = co_await apply_rows(late);
  if (!applied.ok()) {
    keep_epochs_of(epochs_before);
    co_return applied.error();
  }
  co_return since;
}

io::Task<Result<std::vector<catalog::TableCheck>>> Node::compare_tables(
    std::shared_ptr<catalog::Changes> rows, std::vector<catalog::TableName> tables, WallTime log_ids_since) {
  using Outcome = Result<std::vector<catalog::TableCheck>>;
  auto outcome = std::make_shared<Outcome>(fail(ErrorCode::kIo, "not compared"));
  const std::shared_ptr<catalog::Catalog> catalog = catalog_;
  std::function<void()> work = [catalog, rows, tables = std::move(tables), log_ids_since, outcome] {
    *outcome = catalog->check(*rows, tables, log_ids_since);
  };
  co_await environment_.offload.run(std::move(work));
  co_return std::move(*outcome);
}

// The table of log ids grows row by row, so what damage makes of it would stay: it is compared with all of
// the journal, and made again when it differs. The others are written whole each second, and compared with
// what was written just now.
io::Task<Result<control::TableCheckReply>> Node::table_check(control::TableCheckRequest) {
  using catalog::TableName;
  if (catalog_ == nullptr) {
    co_return fail(ErrorCode::kUnsupported, "this node has no catalogue; see its log for the reason");
  }
  do {
    TM_CO_TRY(co_await write_rows());
  } while (rows_left_ && !stopping_);
  control::TableCheckReply reply;
  {
    auto guard = co_await catalog_mutex_.lock();
    auto log_ids = std::make_shared<catalog::Changes>();
    TM_CO_TRY_ASSIGN(const WallTime since, co_await collect_log_ids(log_ids));
    std::vector<TableName> tables{TableName::kLogId};
    TM_CO_TRY_ASSIGN(std::vector<catalog::TableCheck> checks,
                     co_await compare_tables(log_ids, std::move(tables), since));
    if (checks.front().missing + checks.front().foreign > 0) projected_.clear();
    auto rows = std::make_shared<catalog::Changes>(collect_rows());
    TM_CO_TRY(co_await apply_rows(rows));
    std::vector<TableName> others{TableName::kNode,        TableName::kVolume, TableName::kDeviceAddress,
                                  TableName::kRaidAddress, TableName::kPair,   TableName::kLogVolumeGroup,
                                  TableName::kMarkId};
    TM_CO_TRY_ASSIGN(std::vector<catalog::TableCheck> rest,
                     co_await compare_tables(rows, std::move(others), since));
    std::move(checks.begin(), checks.end(), std::back_inserter(rest));
    reply = check_reply(rest);
  }
  do {
    TM_CO_TRY(co_await write_rows());
  } while (rows_left_ && !stopping_);
  co_return reply;
}

io::Task<Result<control::TableReply>> Node::table(control::TableRequest request) {
  if (catalog_ == nullptr) {
    co_return fail(ErrorCode::kUnsupported, "this node has no catalogue; see its log for the reason");
  }
  // What was acknowledged before the question is in the answer.
  do {
    TM_CO_TRY(co_await write_rows());
  } while (rows_left_ && request.name == "log_id");
  catalog::Query query = plain_query(request);
  if (!request.id.empty()) {
    if (request.name == "log_id") {
      TM_CO_TRY_ASSIGN(query.log_id, group::parse_log_id(request.id.starts_with("log:") ? request.id.substr(4)
                                                                                        : request.id));
    } else {
      query.mark_id = request.id;
    }
  }
  if (!request.time.empty()) {
    TM_CO_TRY_ASSIGN(query.time, parse_time(request.time));
  }
  auto guard = co_await catalog_mutex_.lock();
  auto answer = std::make_shared<Result<catalog::Table>>(fail(ErrorCode::kIo, "not asked"));
  const std::shared_ptr<catalog::Catalog> catalog = catalog_;
  std::function<void()> work = [catalog, query, answer] { *answer = catalog->query(query); };
  co_await environment_.offload.run(std::move(work));
  if (!answer->ok()) co_return std::move(*answer).error();
  co_return table_reply(std::move(*answer).value());
}

}  // namespace tidemark::node
