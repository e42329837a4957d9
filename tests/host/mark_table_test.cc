#include "host/mark_table.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <limits>

#include "temporary_folder.h"

namespace tidemark::host {
namespace {

constexpr std::uint64_t kAll = std::numeric_limits<std::uint64_t>::max();

control::HostMark sample(const std::string& id, const std::string& group = "app") {
  control::HostMark mark;
  mark.group = group;
  mark.id = id;
  mark.node = "unix:/run/node.sock";
  mark.host_time = WallTime{1'777'000'000'123'456'789};
  mark.host = "lyra";
  mark.program = "vi";
  mark.path = "/srv/db/orders";
  mark.note = "order 4711, 'saved' \xc3\xa9";
  return mark;
}

TEST(MarkTable, KeepsEachFieldOfARow) {
  const TemporaryFolder folder;
  auto table = MarkTable::open(folder.path() + "/a/b/marks.db");
  ASSERT_TRUE(table.ok()) << table.error().message;
  control::HostMark mark = sample("one");
  mark.number = table->add(mark).value();
  EXPECT_EQ(table->find("app", "one").value().front().state, control::HostMarkState::kPending);
  mark.state = control::HostMarkState::kMade;
  mark.log_id = LogId(Epoch{3}, 99);
  mark.timer = WallTime{1'777'000'000'200'000'000};
  ASSERT_TRUE(table->settle(mark).ok());
  const control::HostMark kept = table->find("app", "one").value().front();
  EXPECT_EQ(kept.number, mark.number);
  EXPECT_EQ(kept.node, mark.node);
  EXPECT_EQ(kept.state, control::HostMarkState::kMade);
  EXPECT_EQ(kept.host_time, mark.host_time);
  EXPECT_EQ(kept.host, mark.host);
  EXPECT_EQ(kept.program, mark.program);
  EXPECT_EQ(kept.path, mark.path);
  EXPECT_EQ(kept.note, mark.note);
  EXPECT_EQ(kept.log_id->raw(), mark.log_id->raw());
  EXPECT_EQ(kept.timer, mark.timer);
  EXPECT_EQ(kept.outcome, "");
}

TEST(MarkTable, OneMarkMayHaveSeveralRowsAndTheNewestCounts) {
  const TemporaryFolder folder;
  auto table = MarkTable::open(folder.path() + "/marks.db");
  control::HostMark first = sample("one");
  first.number = table->add(first).value();
  first.state = control::HostMarkState::kFailed;
  first.outcome = "refused: no";
  ASSERT_TRUE(table->settle(first).ok());
  const std::uint64_t second = table->add(sample("one")).value();
  EXPECT_GT(second, first.number);
  EXPECT_EQ(table->find("app", "one").value().front().number, second);
  EXPECT_EQ(table->list("app", kAll).value().size(), 2u);
  EXPECT_TRUE(table->find("app", "two").value().empty());
}

TEST(MarkTable, ListsTheNewestOfOneGroupOldestFirst) {
  const TemporaryFolder folder;
  auto table = MarkTable::open(folder.path() + "/marks.db");
  for (const char* id : {"a", "b", "c"}) ASSERT_TRUE(table->add(sample(id)).ok());
  ASSERT_TRUE(table->add(sample("other", "web")).ok());
  const auto marks = table->list("app", 2).value();
  ASSERT_EQ(marks.size(), 2u);
  EXPECT_EQ(marks[0].id, "b");
  EXPECT_EQ(marks[1].id, "c");
  EXPECT_EQ(table->list("", kAll).value().size(), 4u);
  EXPECT_EQ(table->groups().value(), (std::vector<std::string>{"app", "web"}));
}

TEST(MarkTable, OutlivesItsProcessAndIsReadableByItsOwnerOnly) {
  const TemporaryFolder folder;
  const std::string path = folder.path() + "/state/marks.db";
  ASSERT_TRUE(MarkTable::open(path)->add(sample("one")).ok());
  EXPECT_EQ(MarkTable::open(path)->list("", kAll).value().size(), 1u);
  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  ASSERT_EQ(::stat((folder.path() + "/state").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
}

// Rows of app with the host times 1 to 4, of which 2 has no answer and 3 was refused, and one of web.
MarkTable table_with_rows(const std::string& path) {
  MarkTable table = MarkTable::open(path).value();
  for (const std::int64_t time : {1, 2, 3, 4, 1}) {
    control::HostMark mark =
        sample("m" + std::to_string(time), table.list("app", kAll)->size() == 4 ? "web" : "app");
    mark.host_time = WallTime{time};
    mark.number = table.add(mark).value();
    mark.state = time == 2 ? control::HostMarkState::kUnknown
                           : (time == 3 ? control::HostMarkState::kFailed : control::HostMarkState::kMade);
    EXPECT_TRUE(table.settle(mark).ok());
  }
  return table;
}

std::string ids(MarkTable& table) {
  std::string all;
  const std::vector<control::HostMark> marks = table.list("", kAll).value();
  for (const control::HostMark& mark : marks) all += mark.group + "/" + mark.id + " ";
  return all;
}

TEST(MarkTable, PruningLeavesWhatIsYoungerAndWhatHasNoAnswer) {
  const TemporaryFolder folder;
  MarkTable table = table_with_rows(folder.path() + "/marks.db");
  EXPECT_EQ(table.pruned_before("app").value(), std::nullopt);
  EXPECT_EQ(table.count_before("app", WallTime{4})->answered, 2u);
  EXPECT_EQ(table.count_before("app", WallTime{4})->open, 1u);
  EXPECT_EQ(table.count_before("", WallTime{2})->answered, 2u);
  EXPECT_EQ(table.prune("app", WallTime{4}, false).value(), 2u);
  EXPECT_EQ(ids(table), "app/m2 app/m4 web/m1 ");
  EXPECT_EQ(table.pruned_before("app").value(), WallTime{4});
  EXPECT_EQ(table.pruned_before("web").value(), std::nullopt);
  EXPECT_EQ(table.prune("app", WallTime{3}, true).value(), 1u);
  EXPECT_EQ(ids(table), "app/m4 web/m1 ");
  EXPECT_EQ(table.pruned_before("app").value(), WallTime{4}) << "it was further once";
  EXPECT_EQ(table.prune("", WallTime{5}, false).value(), 2u);
  EXPECT_EQ(ids(table), "");
  EXPECT_EQ(table.pruned_before("app").value(), WallTime{5});
  EXPECT_EQ(table.pruned_before("web").value(), WallTime{5});
}

TEST(MarkTable, PruningGoesOnToTheEndInSteps) {
  const TemporaryFolder folder;
  const std::string path = folder.path() + "/marks.db";
  MarkTable table = MarkTable::open(path).value();
  const std::uint64_t count = 2 * MarkTable::kPruneStep + 7;
  ASSERT_TRUE(
      catalog::Database::open(path)
          ->execute("INSERT INTO host_mark(group_name, mark_id, node, state, host_time, host_time_ns, host, "
                    "program, path, note) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
                    "WHERE i < " +
                    std::to_string(count) +
                    ") SELECT 'app', 'm' || i, '', 'made', '', i, '', '', '', '' FROM n")
          .ok());
  EXPECT_EQ(table.prune("", WallTime{static_cast<std::int64_t>(count)}, false).value(), count - 1);
  EXPECT_EQ(table.list("", kAll)->size(), 1u);
}

TEST(MarkTable, LookingMakesNoFile) {
  const TemporaryFolder folder;
  const std::string path = folder.path() + "/marks.db";
  EXPECT_FALSE(MarkTable::open_existing(path).value().has_value());
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(MarkTable, WhatIsNotOursIsLeftAlone) {
  const TemporaryFolder folder;
  const std::string foreign = folder.path() + "/foreign.db";
  {
    auto database = catalog::Database::open(foreign);
    ASSERT_TRUE(database->execute("CREATE TABLE t(x)").ok());
  }
  EXPECT_EQ(MarkTable::open(foreign).error().code, ErrorCode::kRefused);
  const std::string text = folder.path() + "/text";
  std::ofstream(text) << std::string(5000, 'x');
  const auto damaged = MarkTable::open(text);
  ASSERT_FALSE(damaged.ok());
  EXPECT_EQ(damaged.error().code, ErrorCode::kDamaged);
  EXPECT_NE(damaged.error().message.find(text), std::string::npos) << damaged.error().message;
  EXPECT_EQ(std::filesystem::file_size(text), 5000u);
}

TEST(MarkTable, ANewerVersionIsRefused) {
  const TemporaryFolder folder;
  const std::string path = folder.path() + "/marks.db";
  ASSERT_TRUE(MarkTable::open(path).ok());
  ASSERT_TRUE(catalog::Database::open(path)->execute("PRAGMA user_version = 2").ok());
  EXPECT_EQ(MarkTable::open(path).error().code, ErrorCode::kUnsupported);
}

TEST(MarkTable, TwoProcessesMakeItAtOnce) {
  const TemporaryFolder folder;
  const std::string path = folder.path() + "/marks.db";
  auto one = MarkTable::open(path);
  auto two = MarkTable::open(path);
  ASSERT_TRUE(one->add(sample("one")).ok());
  ASSERT_TRUE(two->add(sample("two")).ok());
  EXPECT_EQ(one->list("", kAll).value().size(), 2u);
}

}  // namespace
}  // namespace tidemark::host
