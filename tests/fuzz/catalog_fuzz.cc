// A catalogue whose file was changed: a good one is made once, and each record of the input changes some
// bytes of its schema, its headers or its rows (SQLite keeps no checksum). It opens and answers, or says why
// not; thrown away and begun anew, it works.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "catalog/catalog.h"
#include "fuzz/fuzz.h"

namespace tidemark::catalog {
namespace {

constexpr std::size_t kRecordBytes = 8;  // where (3), how many (1), the bytes (4)
constexpr std::size_t kRecordsMax = 64;

// A folder of its own in memory, taken away at the end of the process.
const std::string& path() {
  static const std::string at = [] {
    char folder[] = "/dev/shm/tidemark-fuzz-XXXXXX";
    TM_ASSERT(::mkdtemp(folder) != nullptr);
    static std::string taken_away = folder;
    std::atexit([] {
      for (const char* name : {"/c", "/c-wal", "/c-shm", "/c-journal"}) ::unlink((taken_away + name).c_str());
      ::rmdir(taken_away.c_str());
    });
    return taken_away + "/c";
  }();
  return at;
}

void write_file(Bytes bytes) {
  const int descriptor = ::open(path().c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  TM_ASSERT(descriptor >= 0);
  TM_ASSERT(::write(descriptor, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  ::close(descriptor);
}

Changes some_rows() {
  Changes rows;
  rows.push_back(NodeRow{{{1, 2}}, "tokyo", "0.1.0", WallTime{1'770'000'000'000'000'000}});
  for (std::uint32_t number = 1; number <= 4; ++number) {
    VolumeRow volume;
    volume.lu_number = LuNumber{number};
    volume.group = "app";
    volume.volume = "db" + std::to_string(number);
    volume.volume_number = VolumeId{number};
    volume.size_bytes = 1 << 20;
    volume.kind = number == 4 ? VolumeKind::kLog : VolumeKind::kData;
    volume.state = "open";
    rows.push_back(volume);
    rows.push_back(
        RaidAddressRow{volume.lu_number, 0, 1 << 20, "default", number << 20, "disk0", number << 20});
  }
  rows.push_back(DeviceAddressRow{"app/db1", 0, 1 << 20, "app", "db1", LuNumber{1}, 0});
  rows.push_back(PairRow{"app", "db1", "tokyo", LuNumber{1}, "osaka", LuNumber{7}, "primary", "PAIR", "async",
                         "osaka:1"});
  rows.push_back(
      LogVolumeGroupRow{"app", LuNumber{4}, 1 << 20, 1 << 19, LogId(Epoch{1}, 1), LogId(), "open"});
  for (std::uint64_t n = 1; n <= 9; n += 3) {
    const LogId first(Epoch{1}, n);
    const LogId last(Epoch{1}, n + 2);
    const WallTime time{1'770'000'000'000'000'000 + static_cast<std::int64_t>(n)};
    rows.push_back(LogIdRow{"app", first, last, time, time});
    MarkIdRow mark{"app", "m" + std::to_string(n), last, time, {}, "host", "note", "live"};
    if (n == 1) mark.host_time = time;
    rows.push_back(mark);
  }
  return rows;
}

// Each kind of change that takes rows away, alone: one that fails leaves the others to be tried.
void take_away(Catalog& catalog) {
  (void)catalog.apply({});
  (void)catalog.apply(
      {LogIdRow{"app", LogId(Epoch{1}, 2), LogId(Epoch{1}, 1), {}, {}}});  // ends before it begins
  (void)catalog.apply({RemovePair{"app"}});
  (void)catalog.apply({RemoveMark{"app", "m1"}});
  (void)catalog.apply({TrimLogIds{"app", LogId(Epoch{1}, 3)}});
  (void)catalog.apply({RemoveLogIds{"app", Epoch{1}}});
  (void)catalog.apply({RemoveRaidAddresses{LuNumber{1}}});
  (void)catalog.apply({RemoveUnit{LuNumber{2}}});
  (void)catalog.apply({ClearTable{TableName::kVolume}});
  (void)catalog.apply({RemoveGroup{"app"}});
}

std::vector<std::byte> good_file() {
  {
    auto made = Catalog::recreate(path());
    TM_ASSERT(made.ok());
    TM_ASSERT((*made)->apply(some_rows()).ok());
  }
  std::vector<std::byte> bytes(1 << 20);
  const int descriptor = ::open(path().c_str(), O_RDONLY | O_CLOEXEC);
  const ssize_t count = ::read(descriptor, bytes.data(), bytes.size());
  ::close(descriptor);
  TM_ASSERT(count > 0 && static_cast<std::size_t>(count) < bytes.size());
  bytes.resize(static_cast<std::size_t>(count));
  return bytes;
}

std::vector<std::byte> changed(std::vector<std::byte> bytes, Bytes input) {
  if (!input.empty() && input.front() == std::byte{255}) {  // a file that was cut
    bytes.resize(bytes.size() * (input.size() % 64) / 64);
  }
  for (std::size_t n = 0; n < kRecordsMax && input.size() >= kRecordBytes && !bytes.empty(); ++n) {
    const auto byte = [&input](std::size_t i) { return static_cast<std::size_t>(input[i]); };
    const std::size_t where = (byte(0) | byte(1) << 8 | byte(2) << 16) % bytes.size();
    const std::size_t count = std::min<std::size_t>(1 + byte(3) % 4, bytes.size() - where);
    std::memcpy(bytes.data() + where, input.data() + 4, count);
    input = input.subspan(kRecordBytes);
  }
  return bytes;
}

// What is there against what should be: other rows than some_rows() among it.
void compare(Catalog& catalog) {
  Changes rows = some_rows();
  rows.pop_back();
  rows.push_back(MarkIdRow{"app", "other", LogId(Epoch{1}, 9), WallTime{1}, {}, "host", "", "live"});
  const std::vector<TableName> tables{TableName::kNode,        TableName::kVolume, TableName::kDeviceAddress,
                                      TableName::kRaidAddress, TableName::kPair,   TableName::kLogVolumeGroup,
                                      TableName::kMarkId,      TableName::kLogId};
  const auto checks = catalog.check(rows, tables, WallTime{});
  TM_ASSERT(!checks.ok() || checks->size() == tables.size());
}

void use(Catalog& catalog) {
  compare(catalog);
  for (std::string table : Catalog::table_names()) {
    if (table == "node") table = "no such table";
    Query query;
    query.table = table;
    (void)catalog.query(query);
    query.time = WallTime{1'770'000'000'000'000'000};
    (void)catalog.query(query);  // of one group only
    query.time.reset();
    query.group = "app";
    query.limit = 1;
    (void)catalog.query(query);
    query.after = 1;
    (void)catalog.query(query);
    query.after = 0;
    query.log_id = LogId(Epoch{1}, 1);
    (void)catalog.query(query);
    query.log_id.reset();
    query.mark_id = "m4";
    (void)catalog.query(query);
    query.mark_id.clear();
    query.time = WallTime{1'770'000'000'000'000'005};
    (void)catalog.query(query);
    query.limit = 0;
    (void)catalog.query(query);
  }
  (void)catalog.apply(some_rows());
  take_away(catalog);
}

}  // namespace
}  // namespace tidemark::catalog

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tidemark::catalog;
  static const std::vector<std::byte> good = good_file();
  write_file(changed(good, {reinterpret_cast<const std::byte*>(data), size}));
  if (auto opened = Catalog::open(path()); opened.ok()) {
    use(**opened);
    return 0;
  }
  auto anew = Catalog::recreate(path());
  TM_ASSERT(anew.ok());
  TM_ASSERT((*anew)->apply(some_rows()).ok());
  Query query;
  query.table = "volume";
  const auto table = (*anew)->query(query);
  TM_ASSERT(table.ok() && table->rows.size() == 4);
  return 0;
}
