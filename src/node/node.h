#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "catalog/catalog.h"
#include "control/operations.h"
#include "group/group.h"
#include "journal/recent_batches.h"
#include "nbd/server.h"
#include "node/clock_watch.h"
#include "node/command_export.h"
#include "node/node_storage.h"
#include "replication/pairs.h"

namespace tidemark::node {

struct NodeConfiguration {
  NodeIdentity identity{};
  std::string name{};
  std::string version{};
  std::uint64_t cache_size_bytes = 512ull << 20;
  // Of a journal that is made; 0: by the size of the journal, 2 to 64 MiB.
  std::uint64_t journal_segment_size_bytes = 0;
  // What all journals keep in memory of what was written last; 0: an eighth of the cache, 2 to 64 MiB.
  std::uint64_t recent_size_bytes = 0;
  NodeDisks disks{};
  // As in NodeStorage::Options.
  bool may_format_disk = true;
  std::uint32_t pool_alarm_percent = 80;
  // What is wrong with the machine, for `status`: "" for nothing. Asked each time; must not block.
  std::function<std::string()> machine_alarm{};
  // Of the command exports.
  CommandRules command_rules{};
  // Of NBD connections; what it points to outlives the node.
  nbd::TlsMode nbd_tls{};
  std::vector<std::string> nbd_addresses{};
  std::vector<std::string> control_addresses{};
  std::vector<std::string> replication_addresses{};
};
inline constexpr std::uint64_t kCacheSizeBytesMin = 16 << 20;
// A host or a command that comes while a primary waits for its peer, or is turned, waits this long for it.
inline constexpr Duration kReadyTimeout = Duration::seconds(10);
// A FLUSH that waits for the peer of a synchronous pair holds up the end of its connection for so long.
inline constexpr Duration kFlushGrace = Duration::seconds(2);
inline constexpr std::uint64_t kJournalSizeBytesDefault = 8ull << 30;

// The catalogue, made where the node is wired: a file, or memory in simulation. May be empty: then there is
// none.
using OpenCatalog = std::function<Result<std::unique_ptr<catalog::Catalog>>()>;

// An operation that has one keeps its group from going under it; a group that is deleted goes when the last
// has gone.
using GroupHandle = std::shared_ptr<group::Group>;

// One export that a client has open.
struct OpenExport {
  std::string group{};
  std::string volume{};
  std::string client{};
  bool writable = false;
  bool view = false;
};

// Of the export names of a rehearsal: GROUP/VOLUME+rehearsal.
inline constexpr const char* kRehearsalSuffix = "+rehearsal";
// Of a past point: GROUP/VOLUME@POINT, or a rehearsal's.
inline bool is_view(const std::string& export_name) {
  return export_name.find('@') != std::string::npos || export_name.ends_with(kRehearsalSuffix);
}

// One tidemarkd, built from disks, an environment and a configuration: the pools, the groups with their
// journals and pairs, the exports, and every operation of the control API. Nothing here knows whether the
// disk and the network are real.
//
// Made by start(), which opens every group that the pool holds. Ended by stop(), in order; destroying it
// without is a crash. Reactor thread only; everything in the environment outlives it.
class Node final : public nbd::ExportDirectory, public replication::PairHost, public control::NodeOperations {
 public:
  // Formats the disk when it is new. kRefused, kDamaged, kUnsupported tell of a disk that is not this node's
  // or cannot be used. A group that cannot be opened does not keep the others from serving; `status` tells of
  // it.
  static io::Task<Result<std::unique_ptr<Node>>> start(io::Environment environment,
                                                       NodeConfiguration configuration,
                                                       group::IndexFactory make_index,
                                                       OpenCatalog open_catalog, Log log);
  ~Node() override;
  // Exports close after what is in flight, groups write their last snapshot, the catalogue its last rows.
  io::Task<Result<void>> stop();

  nbd::Server& nbd_server() { return *nbd_server_; }
  replication::Pairs& pairs() { return *pairs_; }
  // Where the services really listen, with the ports that the system chose; for `status`.
  void set_addresses(std::vector<std::string> nbd, std::vector<std::string> control,
                     std::vector<std::string> replication);

  // ---- nbd::ExportDirectory
  io::Task<Result<std::vector<std::string>>> list() override;
  io::Task<Result<nbd::ExportInfo>> describe(std::string name) override;
  io::Task<Result<std::unique_ptr<nbd::BlockTarget>>> open(std::string name, std::string client) override;

  // ---- replication::PairHost
  group::Group* find_group(const std::string& name) override;
  GroupHandle hold_group(const std::string& name) const override;
  io::Task<Result<group::Group*>> create_secondary(format::Hello hello, group::GroupState state) override;
  Result<std::string> place_for(const format::Hello& hello) const override;
  io::Task<Result<void>> drop_group(std::string name) override;
  io::Task<void> disconnect_exports(std::string name) override;
  void log(const std::string& event, const std::string& group, const std::string& text) override;

  // ---- control::NodeOperations
  io::Task<Result<control::NodeStatus>> node_status(control::NodeStatusRequest request) override;
  io::Task<Result<control::SessionsReply>> sessions(control::SessionsRequest request) override;
  io::Task<Result<control::TableReply>> table(control::TableRequest request) override;
  io::Task<Result<control::TableCheckReply>> table_check(control::TableCheckRequest request) override;
  io::Task<Result<control::DiskListReply>> disk_list(control::DiskListRequest request) override;
  io::Task<Result<control::DiskListReply>> disk_add(control::DiskAddRequest request) override;
  io::Task<Result<control::DiskListReply>> disk_replace(control::DiskReplaceRequest request) override;
  io::Task<Result<control::DiskListReply>> disk_remove(control::DiskRemoveRequest request) override;
  io::Task<Result<control::RaidListReply>> raid_list(control::RaidListRequest request) override;
  io::Task<Result<control::RaidInfo>> raid_create(control::RaidCreateRequest request) override;
  io::Task<Result<control::RaidListReply>> raid_forget(control::RaidForgetRequest request) override;
  io::Task<Result<control::RaidInfo>> raid_status(control::RaidStatusRequest request) override;
  io::Task<Result<control::RaidInfo>> raid_scrub(control::RaidScrubRequest request) override;
  io::Task<Result<control::Done>> raid_scrub_stop(control::RaidScrubStopRequest request) override;
  io::Task<Result<control::GroupInfo>> group_create(control::GroupCreateRequest request) override;
  io::Task<Result<control::GroupListReply>> group_list(control::GroupListRequest request) override;
  io::Task<Result<control::GroupInfo>> group_show(control::GroupShowRequest request) override;
  io::Task<Result<control::GroupInfo>> group_set(control::GroupSetRequest request) override;
  io::Task<Result<control::GroupInfo>> group_open(control::GroupOpenRequest request) override;
  io::Task<Result<control::GroupInfo>> group_serve(control::GroupServeRequest request) override;
  io::Task<Result<control::RehearsalInfo>> rehearsal_begin(control::RehearsalBeginRequest request) override;
  io::Task<Result<control::RehearsalInfo>> rehearsal_show(control::RehearsalShowRequest request) override;
  io::Task<Result<control::Done>> rehearsal_end(control::RehearsalEndRequest request) override;
  io::Task<Result<control::Done>> group_delete(control::GroupDeleteRequest request) override;
  io::Task<Result<control::VolumeInfo>> volume_create(control::VolumeCreateRequest request) override;
  io::Task<Result<control::VolumeListReply>> volume_list(control::VolumeListRequest request) override;
  io::Task<Result<control::VolumeInfo>> volume_show(control::VolumeShowRequest request) override;
  io::Task<Result<control::VolumeInfo>> volume_resize(control::VolumeResizeRequest request) override;
  io::Task<Result<control::Done>> volume_delete(control::VolumeDeleteRequest request) override;
  io::Task<Result<control::VolumeAddress>> volume_address(control::VolumeAddressRequest request) override;
  io::Task<Result<control::PairStatus>> pair_create(control::PairCreateRequest request) override;
  io::Task<Result<control::PairStatus>> pair_set(control::PairSetRequest request) override;
  io::Task<Result<control::PairStatus>> pair_status(control::PairStatusRequest request) override;
  io::Task<Result<control::PairStatus>> pair_suspend(control::PairSuspendRequest request) override;
  io::Task<Result<control::PairStatus>> pair_resync(control::PairResyncRequest request) override;
  io::Task<Result<control::PairTakeoverReply>> pair_takeover(control::PairTakeoverRequest request) override;
  io::Task<Result<control::Done>> pair_delete(control::PairDeleteRequest request) override;
  io::Task<Result<control::PairComparison>> pair_verify(control::PairVerifyRequest request) override;
  io::Task<Result<control::PairComparison>> pair_verify_status(
      control::PairVerifyStatusRequest request) override;
  io::Task<Result<control::Done>> pair_verify_stop(control::PairVerifyStopRequest request) override;
  io::Task<Result<control::JournalStatus>> journal_volume_add(
      control::JournalVolumeAddRequest request) override;
  io::Task<Result<control::JournalStatus>> journal_volume_remove(
      control::JournalVolumeRemoveRequest request) override;
  io::Task<Result<control::JournalStatus>> journal_start(control::JournalStartRequest request) override;
  io::Task<Result<control::JournalStatus>> journal_stop(control::JournalStopRequest request) override;
  io::Task<Result<control::JournalStatus>> journal_status(control::JournalStatusRequest request) override;
  io::Task<Result<control::JournalShowReply>> journal_show(control::JournalShowRequest request) override;
  io::Task<Result<control::JournalDataReply>> journal_data(control::JournalDataRequest request) override;
  io::Task<Result<control::JournalExportInfo>> journal_export_begin(
      control::JournalExportBeginRequest request) override;
  io::Task<Result<control::JournalExportPage>> journal_export_read(
      control::JournalExportReadRequest request) override;
  io::Task<Result<control::Done>> journal_export_end(control::JournalExportEndRequest request) override;
  io::Task<Result<control::Verification>> journal_verify(control::JournalVerifyRequest request) override;
  io::Task<Result<control::Verification>> journal_verify_status(
      control::JournalVerifyStatusRequest request) override;
  io::Task<Result<control::Done>> journal_verify_stop(control::JournalVerifyStopRequest request) override;
  io::Task<Result<control::MarkInfo>> mark_create(control::MarkCreateRequest request) override;
  io::Task<Result<control::MarkListReply>> mark_list(control::MarkListRequest request) override;
  io::Task<Result<control::MarkInfo>> mark_show(control::MarkShowRequest request) override;
  io::Task<Result<control::MarkInfo>> mark_name(control::MarkNameRequest request) override;
  io::Task<Result<control::MarkInfo>> mark_hold(control::MarkHoldRequest request) override;
  io::Task<Result<control::MarkInfo>> mark_release(control::MarkReleaseRequest request) override;
  io::Task<Result<control::Done>> mark_delete(control::MarkDeleteRequest request) override;
  io::Task<Result<control::RestoreReply>> restore(control::RestoreRequest request) override;
  io::Task<Result<control::BranchListReply>> branch_list(control::BranchListRequest request) override;
  io::Task<Result<control::BranchInfo>> branch_show(control::BranchShowRequest request) override;
  io::Task<Result<control::Done>> branch_release(control::BranchReleaseRequest request) override;
  io::Task<Result<control::DiffReply>> diff(control::DiffRequest request) override;

 private:
  Node(io::Environment environment, NodeConfiguration configuration, group::IndexFactory make_index, Log log);

  // A group that the pool holds and that could not be opened.
  struct BrokenGroup {
    GroupIdentity identity{};
    LuNumber log_volume{};
    std::string reason{};
    WallTime since{};
  };
  // Log entries that a client reads in bulk, page by page. It goes when the client says so, asks for nothing
  // for a while, or the group is deleted.
  struct JournalExport {
    GroupHandle group{};
    std::unique_ptr<group::JournalExport> entries{};
    MonotonicTime asked_for{};
    bool page_under_way = false;
  };
  struct Rehearsal {
    GroupHandle group{};
    group::ResolvedPoint point{};
    WallTime since{};
    std::map<std::string, std::shared_ptr<group::View>> views{};  // by volume, writable
    bool begun = false;                                           // all of them are there
  };
  using ExportHandle = std::list<OpenExport>::iterator;
  friend class ExportRegistration;
  friend class LiveTarget;

  group::GroupContext group_context();
  io::Task<void> open_groups();
  void note_broken(const pool::LuRecord& unit, const std::string& reason);
  io::Task<void> watch_clock();
  io::Task<void> remove_scratch_units();
  std::vector<control::Problem> orphan_problems() const;
  // A group that is not served, by its identity as text.
  std::optional<GroupIdentity> find_unserved(const std::string& identity) const;
  io::Task<Result<control::Done>> delete_unserved(GroupIdentity identity);
  Result<GroupHandle> require_group(const std::string& name);
  GroupHandle unregister_group(const std::string& name);
  io::Task<Result<void>> destroy_group(GroupHandle group);
  // As NodeStorage asks; not of a group that is not served.
  bool base_is_settled(LuNumber unit) const;
  io::Task<std::unique_ptr<pool::LogVolumeSurvey>> survey_log_volume(LuNumber number, DiskOffset begin,
                                                                     DiskOffset end);
  // What is in the way of a restore: writers, who are refused or, by force, kept out.
  io::Task<Result<void>> clear_writers(group::Group& group, bool force, control::RestoreReply* reply);
  io::Task<Result<control::RestoreReply>> restore_from_peer(control::RestoreRequest request);
  Result<group::VolumeShape> require_volume(group::Group& group, const std::string& name);
  Result<std::shared_ptr<JournalExport>> require_journal_export(const std::string& group,
                                                                const std::string& id) const;
  io::Task<void> end_idle_journal_exports();
  Result<void> check_journal_exports() const;
  io::Task<void> log_verification(std::string name);
  io::Task<Result<void>> open_rehearsal(std::shared_ptr<Rehearsal> rehearsal, std::string point);
  io::Task<void> close_rehearsal(std::shared_ptr<Rehearsal> rehearsal);
  void end_rehearsal(const std::string& group);
  control::RehearsalInfo rehearsal_info(const std::string& group, const Rehearsal& rehearsal) const;
  Result<std::shared_ptr<group::View>> rehearsed(const std::string& group, const std::string& volume) const;
  std::vector<std::string> writers_of(const std::string& group) const;
  void note_write(const std::string& group, const Result<void>& done);
  // FLUSHes that wait for a peer end in a while, with an error.
  io::Task<void> hurry_flushes(GroupHandle group, Error reason);
  Result<void> check_disposable(const group::Group& group) const;
  // Waits a while for a primary that has not heard its peer; then whether the group takes changes.
  io::Task<Result<void>> wait_for_changes(group::Group& group) const;

  // describe.cc: what the node knows, in the words of the API
  control::GroupInfo group_info(const group::Group& group) const;
  control::VolumeInfo volume_info(const group::Group& group, const group::VolumeShape& shape) const;
  control::JournalStatus journal_info(const group::Group& group) const;
  control::MarkInfo mark_info(const group::Group& group, const group::Mark& mark) const;
  void describe_log_of(const group::Group& group, const group::Mark& mark, control::MarkInfo& info) const;
  control::BranchInfo branch_info(const group::Group& group, const index::EpochInfo& info) const;
  static control::PairWindow window_info(const format::GroupWindow& window);
  std::optional<control::PairStatus> pair_info(const group::Group& group) const;
  control::JournalEntry entry_info(const group::Group& group, const group::ShownEntry& shown) const;
  control::JournalExportInfo export_info(const group::Group& group,
                                         const group::JournalExport& entries) const;
  control::JournalExportPage export_page(const group::Group& group, const group::JournalExport& entries,
                                         const group::ExportPage& page) const;
  control::Verification verification_info(const group::Group& group) const;
  control::PairComparison comparison_info(const std::string& group) const;
  std::vector<control::Problem> problems() const;
  control::NodeStatus node_info() const;
  control::SessionsReply sessions_info() const;
  control::PointInfo point_info(const group::Group& group, LogId id) const;

  control::VolumeAddress address_info(const control::VolumeAddressRequest& request, LuNumber lu) const;
  // projection.cc: the catalogue
  io::Task<void> project();
  catalog::Changes collect_rows();
  void add_log_volume_rows(const group::Group& group,
                           const std::map<PoolNumber, NodeStorage::DiskNames>& disk_names,
                           catalog::Changes& rows) const;
  io::Task<Result<void>> write_rows();
  io::Task<Result<void>> write_rows_locked();
  void keep_epochs_of(const std::map<std::string, std::set<Epoch>>& before);
  io::Task<Result<void>> apply_rows(std::shared_ptr<catalog::Changes> rows);
  void drop_what_expired(const std::string& name, std::set<Epoch>& epochs, catalog::Changes& rows);
  io::Task<Result<WallTime>> collect_log_ids(std::shared_ptr<catalog::Changes> rows);
  io::Task<Result<std::vector<catalog::TableCheck>>> compare_tables(std::shared_ptr<catalog::Changes> rows,
                                                                    std::vector<catalog::TableName> tables,
                                                                    WallTime log_ids_since);

  io::Environment environment_;
  NodeConfiguration configuration_;
  group::IndexFactory make_index_;
  Log log_;
  WallTime started_{};
  ClockWatch clock_watch_;
  NodeStorage storage_;
  std::unique_ptr<group::BlockCache> cache_;
  journal::RecentMemory recent_memory_;
  std::map<std::string, GroupHandle> groups_;
  std::vector<BrokenGroup> broken_;
  std::list<OpenExport> open_exports_;
  std::map<std::string, std::shared_ptr<JournalExport>> journal_exports_;  // by id
  bool journal_exports_watched_ = false;
  std::map<std::string, std::shared_ptr<Rehearsal>> rehearsals_;  // by group
  std::set<std::string> out_of_space_;  // groups whose last write was refused for want of space
  std::set<std::string> stopped_;       // groups of which the log has said that they stopped
  std::unique_ptr<replication::Pairs> pairs_;
  std::unique_ptr<nbd::Server> nbd_server_;
  std::shared_ptr<catalog::Catalog> catalog_;
  io::Mutex catalog_mutex_;
  io::Mutex registry_mutex_;
  std::map<std::string, Place> projected_;  // by group: entries before this place have their log_id rows
  std::map<std::string, std::set<Epoch>> projected_epochs_;  // by group: those that have log_id rows
  std::set<std::string> unprojected_;  // groups that are gone, and whose rows may be there
  bool rows_left_ = false;             // the last round did not write all rows of log_id
  bool stopping_ = false;
  io::WaitQueue stop_wanted_;
  io::TaskScope tasks_;
};

}  // namespace tidemark::node
