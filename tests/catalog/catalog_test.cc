#include "catalog/catalog.h"

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "catalog/database.h"
#include "catalog/schema.h"

namespace tidemark::catalog {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kNoon = 1'777'636'800 * kSecond;  // 2026-05-01T12:00:00Z

class CatalogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "tidemark-catalog-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    path_ = (folder_ / "catalogue.sqlite").string();
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::unique_ptr<Catalog> open() {
    auto catalog = Catalog::open(path_);
    EXPECT_TRUE(catalog.ok()) << catalog.error().message;
    return catalog.ok() ? std::move(catalog).value() : nullptr;
  }
  static Table ask(Catalog& catalog, const Query& query) {
    auto table = catalog.query(query);
    EXPECT_TRUE(table.ok()) << (table.ok() ? "" : table.error().message);
    return table.ok() ? std::move(table).value() : Table{};
  }
  static std::string text(const Cell& cell) {
    if (const auto* number = std::get_if<std::int64_t>(&cell)) return std::to_string(*number);
    if (const auto* string = std::get_if<std::string>(&cell)) return *string;
    return "-";
  }
  // Rows as "a|b|c".
  static std::vector<std::string> lines(const Table& table) {
    std::vector<std::string> out;
    for (const auto& row : table.rows) {
      std::string line;
      for (const Cell& cell : row) line += (line.empty() ? "" : "|") + text(cell);
      out.push_back(line);
    }
    return out;
  }
  static void apply(Catalog& catalog, const Changes& changes) {
    const auto applied = catalog.apply(changes);
    EXPECT_TRUE(applied.ok()) << (applied.ok() ? "" : applied.error().message);
  }
  static Query of(const std::string& table, const std::string& group = "") {
    Query query;
    query.table = table;
    query.group = group;
    return query;
  }
  static LogIdRow log_row(const std::string& group, std::uint32_t epoch, std::uint64_t first,
                          std::uint64_t last, std::int64_t first_s, std::int64_t last_s) {
    return {group, LogId(Epoch{epoch}, first), LogId(Epoch{epoch}, last), WallTime{kNoon + first_s * kSecond},
            WallTime{kNoon + last_s * kSecond}};
  }
  static MarkIdRow mark_row(const std::string& group, const std::string& id, LogId at, std::int64_t second) {
    return {group, id, at, WallTime{kNoon + second * kSecond}, std::nullopt, "host-a", "", "live"};
  }

  std::filesystem::path folder_;
  std::string path_;
};

using Lines = std::vector<std::string>;

TEST_F(CatalogTest, EveryTableGivesBackWhatWasPut) {
  {
    auto catalog = open();
    ASSERT_NE(catalog, nullptr);
    NodeIdentity identity;
    identity.bytes[0] = 0xab;
    MarkIdRow mark = mark_row("app", "before-upgrade", LogId(Epoch{2}, 17), 1);
    mark.host_time = WallTime{kNoon + 500'000'000};
    mark.note = "it's 100 %";
    apply(*catalog,
          {NodeRow{identity, "tokyo", "0.1.0", WallTime{kNoon}},
           DeviceAddressRow{"app/db", 0, 1 << 30, "app", "db", LuNumber{3}, 0},
           RaidAddressRow{LuNumber{3}, 0, 1 << 20, "default", 8192, "disk.img", 12288},
           VolumeRow{LuNumber{3}, VolumeKind::kData, "app", "db", VolumeId{1}, 1 << 30, 1 << 20, "open"},
           VolumeRow{LuNumber{2}, VolumeKind::kLog, "app", "", VolumeId{}, 8, 8, "open"},
           PairRow{"app", "db", "tokyo", LuNumber{3}, "osaka", LuNumber{5}, "primary", "PAIR", "async",
                   "unix:/run/osaka.sock"},
           LogVolumeGroupRow{"app", LuNumber{2}, 8, 4, LogId(Epoch{1}, 1), LogId(Epoch{2}, 17), "open"},
           log_row("app", 2, 10, 17, 0, 1), mark});
  }
  auto catalog = open();  // and it is still there after closing
  ASSERT_NE(catalog, nullptr);
  EXPECT_EQ(lines(ask(*catalog, of("node"))),
            Lines{"ab000000000000000000000000000000|tokyo|0.1.0|2026-05-01T12:00:00Z"});
  EXPECT_EQ(lines(ask(*catalog, of("device_address", "app"))), Lines{"app/db|0|1073741824|app|db|3|0"});
  EXPECT_EQ(lines(ask(*catalog, of("raid_address", "app"))),
            Lines{"3|0|1048576|default|8192|disk.img|12288"});
  EXPECT_EQ(lines(ask(*catalog, of("volume", "app"))),
            (Lines{"2|log|app||0|8|8|open", "3|data|app|db|1|1073741824|1048576|open"}));
  EXPECT_EQ(lines(ask(*catalog, of("pair", "app"))),
            Lines{"app|db|tokyo|3|osaka|5|primary|PAIR|async|unix:/run/osaka.sock"});
  EXPECT_EQ(lines(ask(*catalog, of("log_volume_group", "app"))), Lines{"app|2|8|4|1.1|2.17|open"});
  EXPECT_EQ(lines(ask(*catalog, of("log_id", "app"))),
            Lines{"app|2.10|2.17|2026-05-01T12:00:00Z|2026-05-01T12:00:01Z"});
  const Table marks = ask(*catalog, of("mark_id", "app"));
  EXPECT_EQ(marks.columns,
            (Lines{"group_name", "mark_id", "log_id", "timer", "host_time", "host", "note", "state"}));
  EXPECT_EQ(lines(marks), Lines{"app|before-upgrade|2.17|2026-05-01T12:00:01Z|2026-05-01T12:00:00.5Z|"
                                "host-a|it's 100 %|live"});
}

TEST_F(CatalogTest, ARowWithTheSameKeyTakesThePlaceOfTheOld) {
  auto catalog = open();
  MarkIdRow mark = mark_row("app", "m", LogId(Epoch{1}, 5), 0);
  apply(*catalog, {mark});
  mark.state = "held";
  apply(*catalog, {mark});
  const Table table = ask(*catalog, of("mark_id"));
  ASSERT_EQ(table.rows.size(), 1U);
  EXPECT_EQ(text(table.rows[0].back()), "held");
  EXPECT_EQ(text(table.rows[0][4]), "-");  // a host that gave no time
}

TEST_F(CatalogTest, AFailedChangeLeavesNothingOfItsList) {
  auto catalog = open();
  LogIdRow impossible = log_row("app", 1, 5, 9, 0, 1);
  impossible.last = LogId(Epoch{2}, 9);
  const auto applied = catalog->apply({mark_row("app", "m", LogId(Epoch{1}, 5), 0), impossible});
  ASSERT_FALSE(applied.ok());
  EXPECT_EQ(applied.error().code, ErrorCode::kInvalid);
  EXPECT_TRUE(ask(*catalog, of("mark_id")).rows.empty());
  apply(*catalog, {mark_row("app", "m", LogId(Epoch{1}, 5), 0)});  // and it goes on
  EXPECT_EQ(ask(*catalog, of("mark_id")).rows.size(), 1U);
}

TEST_F(CatalogTest, LogIdIsAskedByIdAndByTime) {
  auto catalog = open();
  apply(*catalog, {log_row("app", 1, 1, 10, 0, 1), log_row("app", 1, 11, 20, 2, 3),
                   log_row("app", 2, 1, 1, 10, 10), log_row("other", 1, 1, 99, 0, 99)});
  Query query = of("log_id", "app");
  query.log_id = LogId(Epoch{1}, 11);
  EXPECT_EQ(lines(ask(*catalog, query)), Lines{"app|1.11|1.20|2026-05-01T12:00:02Z|2026-05-01T12:00:03Z"});
  query.log_id = LogId(Epoch{1}, 21);
  EXPECT_TRUE(ask(*catalog, query).rows.empty());
  query.log_id.reset();
  query.time = WallTime{kNoon + 9 * kSecond};  // between two rows: what a host would have read then
  EXPECT_EQ(text(ask(*catalog, query).rows.at(0).at(1)), "1.11");
  query.time = WallTime{kNoon + 10 * kSecond};
  EXPECT_EQ(text(ask(*catalog, query).rows.at(0).at(1)), "2.1");
  query.time = WallTime{kNoon - 1};
  EXPECT_TRUE(ask(*catalog, query).rows.empty());
}

TEST_F(CatalogTest, MarksAreAskedByIdLogIdAndTime) {
  auto catalog = open();
  apply(*catalog, {mark_row("app", "b", LogId(Epoch{1}, 5), 1), mark_row("app", "a", LogId(Epoch{1}, 9), 2),
                   mark_row("other", "b", LogId(Epoch{1}, 5), 3)});
  const Table all = ask(*catalog, of("mark_id", "app"));  // in the order of the log, not of the names
  ASSERT_EQ(all.rows.size(), 2U);
  EXPECT_EQ(text(all.rows[0][1]), "b");
  Query query = of("mark_id", "app");
  query.mark_id = "a";
  EXPECT_EQ(text(ask(*catalog, query).rows.at(0).at(2)), "1.9");
  query.mark_id.clear();
  query.log_id = LogId(Epoch{1}, 5);
  EXPECT_EQ(ask(*catalog, query).rows.size(), 1U);
  query.log_id.reset();
  query.time = WallTime{kNoon + kSecond + kSecond / 2};
  EXPECT_EQ(text(ask(*catalog, query).rows.at(0).at(1)), "b");
}

TEST_F(CatalogTest, RowsBelowTheFloorAreTrimmed) {
  auto catalog = open();
  apply(*catalog, {log_row("app", 1, 1, 10, 0, 1), log_row("app", 1, 11, 20, 2, 3),
                   log_row("app", 3, 1, 5, 4, 5), log_row("other", 1, 1, 10, 0, 1)});
  apply(*catalog, {TrimLogIds{"app", LogId(Epoch{1}, 15)}});  // 15 lies in the second row, which stays
  EXPECT_EQ(ask(*catalog, of("log_id", "app")).rows.size(), 2U);
  apply(*catalog, {RemoveLogIds{"app", Epoch{1}}});
  EXPECT_EQ(text(ask(*catalog, of("log_id", "app")).rows.at(0).at(1)), "3.1");
  EXPECT_EQ(ask(*catalog, of("log_id", "other")).rows.size(), 1U);
}

TEST_F(CatalogTest, LogIdRowsOfAGroupAreBounded) {
  auto catalog = Catalog::open(":memory:");
  ASSERT_TRUE(catalog.ok());
  apply(**catalog, {log_row("other", 1, 1, 1, 0, 0)});
  std::uint64_t sequence = 0;
  while (sequence <= kLogIdRowsMax + 50'000) {
    Changes changes;
    for (int i = 0; i < 50'000; ++i) {
      ++sequence;
      const WallTime timer{kNoon + static_cast<std::int64_t>(sequence)};
      changes.emplace_back(
          LogIdRow{"app", LogId(Epoch{1}, sequence), LogId(Epoch{1}, sequence), timer, timer});
    }
    apply(**catalog, changes);
  }
  Query query = of("log_id", "app");
  query.log_id = LogId(Epoch{1}, 1);
  EXPECT_TRUE(ask(**catalog, query).rows.empty());  // the oldest went
  query.log_id = LogId(Epoch{1}, sequence);
  EXPECT_EQ(ask(**catalog, query).rows.size(), 1U);
  query.log_id.reset();
  query.after = kLogIdRowsMax;
  EXPECT_TRUE(ask(**catalog, query).rows.empty());
  query.after = kLogIdRowsMax / 2;
  EXPECT_FALSE(ask(**catalog, query).rows.empty());  // and no more than needed
  EXPECT_EQ(ask(**catalog, of("log_id", "other")).rows.size(), 1U);
}

TEST_F(CatalogTest, RemovalsTakeWhatTheyNameAndNoMore) {
  auto catalog = open();
  Changes changes;
  for (const char* group : {"app", "other"}) {
    const LuNumber unit{std::string(group) == "app" ? 1U : 2U};
    changes.emplace_back(DeviceAddressRow{std::string(group) + "/v", 0, 1, group, "v", unit, 0});
    changes.emplace_back(RaidAddressRow{unit, 0, 1, "default", 0, "disk", 0});
    changes.emplace_back(VolumeRow{unit, VolumeKind::kData, group, "v", VolumeId{1}, 1, 1, "open"});
    changes.emplace_back(
        PairRow{group, "v", "tokyo", unit, "osaka", unit, "primary", "PAIR", "sync", "unix:/s"});
    changes.emplace_back(LogVolumeGroupRow{group, unit, 1, 1, LogId{}, LogId{}, "open"});
    changes.emplace_back(log_row(group, 1, 1, 1, 0, 0));
    changes.emplace_back(mark_row(group, "m", LogId(Epoch{1}, 1), 0));
  }
  apply(*catalog, changes);
  apply(*catalog, {RemovePair{"app"}, RemoveMark{"app", "m"}, RemoveRaidAddresses{LuNumber{1}}});
  EXPECT_TRUE(ask(*catalog, of("pair", "app")).rows.empty());
  EXPECT_TRUE(ask(*catalog, of("mark_id", "app")).rows.empty());
  EXPECT_TRUE(ask(*catalog, of("raid_address", "app")).rows.empty());
  EXPECT_EQ(ask(*catalog, of("volume", "app")).rows.size(), 1U);
  apply(*catalog, {RemoveUnit{LuNumber{1}}});
  EXPECT_TRUE(ask(*catalog, of("volume", "app")).rows.empty());
  EXPECT_TRUE(ask(*catalog, of("device_address", "app")).rows.empty());
  EXPECT_EQ(ask(*catalog, of("log_id", "app")).rows.size(), 1U);
  apply(*catalog, {RemoveGroup{"app"}});
  EXPECT_TRUE(ask(*catalog, of("log_id", "app")).rows.empty());
  for (const std::string& table : Catalog::table_names()) {
    if (table == "node") continue;
    EXPECT_EQ(ask(*catalog, of(table)).rows.size(), 1U) << table;
  }
  apply(*catalog, {ClearTable{TableName::kVolume}, RemoveGroup{"other"}});
  EXPECT_TRUE(ask(*catalog, of("mark_id")).rows.empty());
}

TEST_F(CatalogTest, PagesFollowEachOther) {
  auto catalog = open();
  Changes changes;
  for (std::uint64_t i = 1; i <= 5; ++i) {
    changes.emplace_back(mark_row("app", "m" + std::to_string(i), LogId(Epoch{1}, i), 0));
  }
  apply(*catalog, changes);
  Query query = of("mark_id", "app");
  query.limit = 2;
  Lines ids;
  for (;;) {
    const Table page = ask(*catalog, query);
    for (const auto& row : page.rows) ids.push_back(text(row[1]));
    if (!page.next.has_value()) break;
    query.after = *page.next;
  }
  EXPECT_EQ(ids, (Lines{"m1", "m2", "m3", "m4", "m5"}));
}

TEST_F(CatalogTest, QuestionsThatATableCannotAnswerAreRefused) {
  auto catalog = open();
  const auto unknown = catalog->query(of("mark_ids"));
  ASSERT_FALSE(unknown.ok());
  EXPECT_EQ(unknown.error().code, ErrorCode::kNotFound);
  EXPECT_NE(unknown.error().message.find("mark_id"), std::string::npos);
  EXPECT_EQ(catalog->query(of("mark_id; DROP TABLE pair")).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(catalog->query(of("node", "app")).error().code, ErrorCode::kInvalid);
  Query query = of("log_id");
  query.log_id = LogId(Epoch{1}, 1);
  EXPECT_EQ(catalog->query(query).error().code, ErrorCode::kInvalid);  // of which group?
  query = of("volume", "app");
  query.mark_id = "m";
  EXPECT_EQ(catalog->query(query).error().code, ErrorCode::kInvalid);
  query = of("volume");
  query.limit = kQueryRowsMax + 1;
  EXPECT_EQ(catalog->query(query).error().code, ErrorCode::kInvalid);
}

TEST_F(CatalogTest, APlainSqliteReadsWhileItIsOpenAndBeingWritten) {
  auto catalog = open();
  apply(*catalog, {mark_row("app", "first", LogId(Epoch{1}, 1), 0)});
  sqlite3* reader = nullptr;
  ASSERT_EQ(sqlite3_open_v2(path_.c_str(), &reader, SQLITE_OPEN_READONLY, nullptr), SQLITE_OK);
  const auto count_marks = [reader] {
    sqlite3_stmt* statement = nullptr;
    EXPECT_EQ(sqlite3_prepare_v2(reader, "SELECT count(*), max(timer) FROM mark_id", -1, &statement, nullptr),
              SQLITE_OK);
    EXPECT_EQ(sqlite3_step(statement), SQLITE_ROW);
    const int count = sqlite3_column_int(statement, 0);
    sqlite3_finalize(statement);
    return count;
  };
  ASSERT_EQ(sqlite3_exec(reader, "BEGIN", nullptr, nullptr, nullptr), SQLITE_OK);
  EXPECT_EQ(count_marks(), 1);
  apply(*catalog, {mark_row("app", "second", LogId(Epoch{1}, 2), 1)});  // a reader does not stop the node
  EXPECT_EQ(count_marks(), 1);  // nor does the node disturb the reader
  ASSERT_EQ(sqlite3_exec(reader, "COMMIT", nullptr, nullptr, nullptr), SQLITE_OK);
  EXPECT_EQ(count_marks(), 2);
  sqlite3_close(reader);
}

TEST_F(CatalogTest, DamagedFilesAreReportedAndMadeAgain) {
  {
    auto catalog = open();
    Changes changes;
    for (std::uint64_t i = 1; i <= 2000; ++i) {
      changes.emplace_back(mark_row("app", "mark-" + std::to_string(i), LogId(Epoch{1}, i), 0));
    }
    apply(*catalog, changes);
  }
  {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(20 * 4096 + 8);
    file << std::string(4096, '\x5a');
  }
  const auto damaged = Catalog::open(path_);
  ASSERT_FALSE(damaged.ok());
  EXPECT_EQ(damaged.error().code, ErrorCode::kDamaged);
  EXPECT_NE(damaged.error().message.find(path_), std::string::npos);
  auto again = Catalog::recreate(path_);
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_TRUE(ask(**again, of("mark_id")).rows.empty());
}

TEST_F(CatalogTest, AnotherNameInTheTextOfATableIsDamage) {
  ASSERT_TRUE(Catalog::open(path_).ok());
  std::string content;
  {
    std::ifstream file(path_, std::ios::binary);
    content.assign(std::istreambuf_iterator<char>(file), {});
  }
  const std::size_t at = content.find("capacity_bytes");
  ASSERT_NE(at, std::string::npos);
  content[at] = 'k';
  std::ofstream(path_, std::ios::binary) << content;
  const auto opened = Catalog::open(path_);
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code, ErrorCode::kDamaged) << opened.error().message;
  EXPECT_TRUE(Catalog::recreate(path_).ok());
}

TEST_F(CatalogTest, AHeaderThatForbidsWritingIsDamage) {
  ASSERT_TRUE(Catalog::open(path_).ok());
  {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(18);  // "file format write version": https://www.sqlite.org/fileformat.html
    file.put('\6');
  }
  const auto opened = Catalog::open(path_);
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code, ErrorCode::kDamaged) << opened.error().message;
  EXPECT_TRUE(Catalog::recreate(path_).ok());
}

TEST_F(CatalogTest, AFileThatIsNoDatabaseIsDamaged) {
  std::ofstream(path_) << std::string(5000, 'x');
  const auto opened = Catalog::open(path_);
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code, ErrorCode::kDamaged);
  EXPECT_TRUE(Catalog::recreate(path_).ok());
}

TEST_F(CatalogTest, AnotherProgramsDatabaseIsLeftAlone) {
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "CREATE TABLE bookmarks (url TEXT)", nullptr, nullptr, nullptr), SQLITE_OK);
  const auto opened = Catalog::open(path_);
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code, ErrorCode::kRefused);
  EXPECT_EQ(sqlite3_exec(other, "SELECT * FROM bookmarks", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(other);
}

TEST_F(CatalogTest, ANewerVersionIsRefusedAndUntouched) {
  open();
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "PRAGMA user_version = 1000", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(other);
  const auto opened = Catalog::open(path_);
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(opened.error().message.find("1000"), std::string::npos);
  auto database = Database::open(path_);
  ASSERT_TRUE(database.ok());
  EXPECT_EQ(*database->query_integer("PRAGMA user_version"), 1000);
}

TEST_F(CatalogTest, AFolderThatIsNotThereIsAnIoError) {
  const auto opened = Catalog::open((folder_ / "missing" / "c.sqlite").string());
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code, ErrorCode::kIo);
}

TEST_F(CatalogTest, MigrationKeepsTheRowsAndStopsWhole) {
  const std::array<const char*, 3> versions = {"CREATE TABLE t (a INTEGER)",
                                               "ALTER TABLE t ADD COLUMN b INTEGER DEFAULT 7",
                                               "CREATE TABLE u (c INTEGER); SELECT no_such_function()"};
  {
    auto database = Database::open(path_);
    ASSERT_TRUE(database.ok());
    ASSERT_TRUE(migrate(*database, kApplicationId, std::span(versions).first(1)).ok());
    ASSERT_TRUE(database->execute("INSERT INTO t VALUES (1)").ok());
  }
  auto database = Database::open(path_);
  ASSERT_TRUE(database.ok());
  ASSERT_TRUE(migrate(*database, kApplicationId, std::span(versions).first(2)).ok());
  EXPECT_EQ(*database->query_integer("SELECT a * 10 + b FROM t"), 17);
  EXPECT_FALSE(migrate(*database, kApplicationId, versions).ok());
  EXPECT_EQ(*database->query_integer("PRAGMA user_version"), 2);
  EXPECT_EQ(*database->query_integer("SELECT count(*) FROM sqlite_schema WHERE name = 'u'"), 0);
  const auto older = migrate(*database, kApplicationId, std::span(versions).first(1));
  ASSERT_FALSE(older.ok());
  EXPECT_EQ(older.error().code, ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace tidemark::catalog
