#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/types.h"
#include "io/environment.h"
#include "io/sync.h"
#include "pool/pools.h"
#include "raid/raid_group.h"

namespace tidemark::node {

// One event, one line: a word for the kind, then fields.
using Log = std::function<void(const std::string& event, const std::string& text)>;

// What one pool of the node lies on.
struct PoolDisk {
  PoolNumber number{};
  std::string name{};  // of the RAID group; kPlainDiskName of a disk that is used as it is
  std::string path{};  // of that disk; of a RAID group its members have them
  io::Disk* disk = nullptr;
  raid::RaidGroup* raid = nullptr;  // that disk, when it is made of several
};
inline constexpr const char* kPlainDiskName = "disk";

// Of a pool that is missing, and that only its disks know the number of.
inline constexpr PoolNumber kUnknownPool{pool::kPoolsMax};

struct NewRaidGroup {
  std::string name{};
  format::RaidLevel level = format::RaidLevel::k1;
  std::uint32_t unit_bytes = raid::kUnitBytesDefault;
  std::vector<std::string> disks{};  // paths
};

// The disks that a node is given, and what it may ask of the machine about them. All of it outlives the node.
struct NodeDisks {
  std::vector<PoolDisk> pools{};
  std::vector<pool::MissingPool> missing{};  // known from earlier, and not among these
  std::vector<raid::DiskReport> found{};     // at the start
  // Opens one more disk, by its path.
  std::function<io::Task<Result<raid::NamedDisk>>(std::string path)> open{};
  // Durably: the next start looks at this disk too.
  std::function<io::Task<Result<void>>(std::string path)> remember{};
  // What was opened last turned out to be of no use: it is closed, and the next start does not look at it.
  std::function<io::Task<void>(std::string path)> give_back{};
  // Makes blank disks into a RAID group with an empty pool on it, which the next start finds again.
  std::function<io::Task<Result<PoolDisk>>(NewRaidGroup what)> create_raid{};
  // Of one that is missing, durably: the next start does not miss it.
  std::function<io::Task<Result<void>>(std::string name)> forget_raid{};
};
// A node with one disk, as it is.
NodeDisks one_disk(io::Disk& disk);

// What the node's volumes and journals lie on: its pools, the RAID groups under them, and the disks under
// those. In the API a pool has the name of its RAID group.
//
// Owned by the node. Reactor thread only; stop() before it goes.
class NodeStorage {
 public:
  struct Options {
    NodeIdentity node{};
    NodeDisks disks{};
    // Whether nobody is about to write again what a crash left half written of this data volume.
    std::function<bool(LuNumber)> is_settled{};
    // What lies on a log volume, by the group that keeps its journal there.
    pool::SurveyLogVolume survey_log_volume{};
    // From how full on, in percent, `status` and the log tell that a pool fills up; 0: never.
    std::uint32_t alarm_percent = 0;
    // A disk without a label is new; only of a node that has one disk. Not so on a node that has had one:
    // there it is a disk that lost its content.
    bool may_format = true;
  };
  NodeStorage(const io::Environment& environment, Options options, Log log);
  ~NodeStorage();

  // Opens the pools. One that cannot be used does not keep the others from serving; fails, as Pool::open()
  // does, when there is no other.
  io::Task<Result<void>> open();
  io::Task<void> stop();
  // Instead of stop(), before what its tasks use goes: what they do ends where it is.
  void abandon() { tasks_.cancel_all(); }

  pool::Pools& pools() { return pools_; }
  const pool::Pools& pools() const { return pools_; }
  // By the name of its RAID group; none: the first. kNotFound tells which there are.
  Result<PoolNumber> find_pool(const std::optional<std::string>& name) const;
  std::string name_of(PoolNumber number) const;
  std::uint64_t journals_bytes() const;

  // For whoever translates many addresses: how the disks are called, as of now.
  struct DiskNames {
    std::string raid_group{};            // empty: it is one disk
    std::vector<std::string> members{};  // by index
  };
  DiskNames disk_names(PoolNumber number) const;
  // Where an address of a pool's disk lies: data, one for each copy; then parity.
  std::vector<control::DiskPlace> places_of(PoolNumber number, const DiskNames& names,
                                            DiskOffset offset) const;

  void add_problems(WallTime started, std::vector<control::Problem>& out) const;
  // Tells the log of a pool that fills up, or has room again.
  void watch();

  // ---- Operations of the control API.
  control::DiskListReply disk_list() const;
  io::Task<Result<control::DiskListReply>> disk_add(control::DiskAddRequest request);
  io::Task<Result<control::DiskListReply>> disk_replace(control::DiskReplaceRequest request);
  io::Task<Result<control::DiskListReply>> disk_remove(control::DiskRemoveRequest request);
  control::RaidListReply raid_list() const;
  io::Task<Result<control::RaidInfo>> raid_create(control::RaidCreateRequest request);
  io::Task<Result<control::RaidListReply>> raid_forget(control::RaidForgetRequest request);
  Result<control::RaidInfo> raid_status(const control::RaidStatusRequest& request) const;
  Result<control::RaidInfo> raid_scrub(const control::RaidScrubRequest& request);
  Result<control::Done> raid_scrub_stop(const control::RaidScrubStopRequest& request);

 private:
  struct Scrub {
    control::ScrubInfo info{};
    std::uint64_t bytes_per_second_max = 0;
    bool stop_wanted = false;
  };
  // A pool that is here, with what is done to it.
  struct Part {
    PoolDisk disk{};
    std::shared_ptr<Scrub> scrub{};  // that runs or ran last
    std::optional<WallTime> alarm_since{};
  };
  io::Task<Result<std::unique_ptr<pool::Pool>>> open_pool(PoolDisk at);
  const Part* find_part(const std::string& name) const;
  bool is_alone() const { return parts_.size() == 1 && pools_.missing().empty(); }
  std::optional<std::string> alarm_of(const Part& part) const;
  std::uint64_t journals_bytes(PoolNumber number) const;

  // The RAID group that is named, or the only one.
  Result<PoolNumber> require_raid(const std::optional<std::string>& name) const;
  // The one that a disk or a member's number is of, unless it is named.
  Result<PoolNumber> raid_of(const std::optional<std::string>& name, std::vector<std::string> disks) const;
  Result<void> check_unused(const std::string& path) const;
  control::RaidInfo raid_info(const Part& part, const raid::RaidStatus& status) const;
  std::vector<control::DiskInfo> refused_disks() const;
  void add_raid_problems(const Part& part, std::vector<control::Problem>& out) const;
  io::Task<void> run_scrub(PoolNumber number, raid::RaidGroup* raid, std::string name,
                           std::shared_ptr<Scrub> scrub);
  raid::Judge judge(std::shared_ptr<const pool::Survey> survey) const;

  io::Environment environment_;
  Options options_;
  Log log_;
  pool::Pools pools_;
  std::map<PoolNumber, Part> parts_;
  io::Mutex disks_mutex_;  // changes of disks and RAID groups, one at a time
  bool stopping_ = false;
  io::TaskScope tasks_;
};

}  // namespace tidemark::node
