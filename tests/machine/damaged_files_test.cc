// One byte after the other of what lies beside the disk is another: of the catalogue and of the index. Both
// are derived, so the node starts whatever it is, serves nothing wrong, and shows the same tables again.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <array>
#include <cstdio>
#include <set>

#include "child.h"
#include "rounds.h"
#include "story.h"
#include "temporary_folder.h"

namespace tidemark {
namespace {

constexpr std::uint64_t kIndexMemoryBytes = 8 << 10;  // a few dozen entries make a run
constexpr std::uint64_t kIndexBlockBytes = 256;       // of which a few make a block
constexpr std::array<const char*, 6> kTables = {"device_address", "raid_address",     "volume",
                                                "mark_id",        "log_volume_group", "log_id"};

// What is zero becomes a hole: of a journal that was prepared little else is left to copy the next time.
void copy_file(const std::string& from, const std::string& to) {
  const int in = ::open(from.c_str(), O_RDONLY);
  const int out = ::open(to.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  struct stat status {};
  ASSERT_TRUE(in >= 0 && out >= 0 && ::fstat(in, &status) == 0 && ::ftruncate(out, status.st_size) == 0);
  std::vector<char> piece(64 << 10);
  for (off_t at = ::lseek(in, 0, SEEK_DATA); at >= 0; at = ::lseek(in, at, SEEK_DATA)) {
    const off_t end = ::lseek(in, at, SEEK_HOLE);
    while (at < end) {
      const auto wanted = std::min<std::size_t>(piece.size(), static_cast<std::size_t>(end - at));
      const ssize_t got = ::pread(in, piece.data(), wanted, at);
      ASSERT_GT(got, 0);
      const std::string_view content(piece.data(), static_cast<std::size_t>(got));
      if (content.find_first_not_of('\0') != std::string_view::npos) {
        ASSERT_EQ(::pwrite(out, content.data(), content.size(), at), got);
      }
      at += got;
    }
  }
  ::close(in);
  ::close(out);
}

void copy_folder(const std::string& from, const std::string& to) {
  std::filesystem::remove_all(to);
  std::filesystem::create_directories(to);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(from)) {
    const std::string target = to + entry.path().string().substr(from.size());
    if (entry.is_directory()) {
      std::filesystem::create_directories(target);
    } else {
      copy_file(entry.path().string(), target);
    }
  }
}

bool has_runs(const std::string& folder) {
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder + "/index")) {
    if (entry.path().extension() == ".sst") return true;
  }
  return false;
}

io::Task<void> pass(io::Scheduler& scheduler, Duration time) {
  co_await scheduler.sleep_for(time);
}

// The rows of all tables, as text.
Result<std::string> tables_of(RealNode& node) {
  std::string text;
  for (const char* name : kTables) {
    control::TableRequest request;
    request.name = name;
    request.limit = 1000;
    TM_TRY_ASSIGN(const control::TableReply table, node.run(node.node().table(request)));
    text += std::string(name) + "\n";
    for (const auto& row : table.rows) {
      for (const control::TableCell& cell : row) {
        if (const auto* number = std::get_if<std::int64_t>(&cell)) text += std::to_string(*number);
        if (const auto* words = std::get_if<std::string>(&cell)) text += *words;
        text += "|";
      }
      text += "\n";
    }
  }
  return text;
}

// The first line that is not the same.
std::string first_difference(const std::string& expected, const std::string& found) {
  std::istringstream expected_lines(expected);
  std::istringstream found_lines(found);
  std::string left;
  std::string right;
  do {
    left.clear();
    right.clear();
    std::getline(expected_lines, left);
    std::getline(found_lines, right);
  } while (left == right && expected_lines && found_lines);
  return " '" + right + "' instead of '" + left + "'";
}

struct Told {
  std::array<char, 1 << 16> tables{};
  std::array<char, 4000> complaint{};
  bool catalogue_refused = false;
  bool index_rebuilt = false;             // at the start, or
  bool index_rebuilt_by_look_up = false;  // when something was looked up in it
};

void put(char* out, std::size_t size, const std::string& text) {
  std::snprintf(out, size, "%s", text.c_str());
}

// A node with a run on disk, newer entries beside it, and a catalogue; stopped in order.
std::string make_node(const std::string& folder, const std::vector<Deed>& deeds, Told& told) {
  RealNode node(folder, kIndexMemoryBytes, kIndexBlockBytes);
  const auto tell = [&]() -> Result<void> {
    TM_TRY(node.start());
    TM_TRY(node.make_group({kVolumes[0], kVolumes[1]}));
    TM_TRY_ASSIGN(Targets targets, open_volumes(node));
    for (std::uint32_t i = 0; i < deeds.size(); ++i) TM_TRY(carry_out(node, targets, i + 1, deeds[i]));
    for (int i = 0; i < 100 && !has_runs(folder); ++i)
      node.run(pass(node.reactor(), Duration::milliseconds(50)));
    if (!has_runs(folder)) return fail(ErrorCode::kTimeout, "no run of the index was written");
    targets = {};
    return node.stop();
  };
  const auto made = tell();
  if (!made.ok()) return made.error().message;
  // The tables as the next start shows them.
  TM_ASSERT(node.start().ok());
  const auto tables = tables_of(node);
  if (!tables.ok()) return tables.error().message;
  put(told.tables.data(), told.tables.size(), *tables);
  const auto stopped = node.stop();
  return stopped.ok() ? std::string() : stopped.error().message;
}

// What is wrong with the node; empty when nothing is.
std::string look(const std::string& folder, const std::vector<Deed>& deeds, Told& told) {
  RealNode node(folder, kIndexMemoryBytes, kIndexBlockBytes);
  const auto started = node.start();
  if (!started.ok()) return "does not start: " + started.error().message;
  if (node.group() == nullptr) return "the group is not there: " + node.told();
  const auto live = look_at(node);
  if (!live.ok()) return "cannot be read: " + live.error().message;
  if (*live != deeds.back().after) return "the volumes show something else";
  for (const Deed& deed : deeds) {
    if (deed.kind != Deed::Kind::kMark) continue;
    const auto image = look_at(node, "@" + deed.mark);
    if (!image.ok()) return "mark " + deed.mark + " cannot be read: " + image.error().message;
    if (*image != deed.after) return "mark " + deed.mark + " shows something else";
  }
  told.index_rebuilt = node.told().find("index-rebuilt ") != std::string::npos;
  told.index_rebuilt_by_look_up = told.index_rebuilt && node.told().find(" batches=") != std::string::npos;
  const auto tables = tables_of(node);
  if (!tables.ok()) {
    // A file that seems to be another program's, or a newer version's, is left alone, and the log says so.
    const std::string& log = node.told();
    told.catalogue_refused = tables.error().code == ErrorCode::kUnsupported &&
                             (log.find("is a database of another program") != std::string::npos ||
                              log.find("this program knows up to") != std::string::npos);
    return told.catalogue_refused ? std::string()
                                  : "the tables cannot be read: " + tables.error().message + ": " + log;
  }
  if (*tables != told.tables.data())
    return "the tables show something else:" + first_difference(told.tables.data(), *tables);
  const auto stopped = node.stop();
  return stopped.ok() ? std::string() : "does not stop: " + stopped.error().message;
}

class DamagedFiles : public testing::Test {
 protected:
  void SetUp() override {
    const int status = in_a_child(folder_.file("said"), [&] {
      std::filesystem::create_directory(damaged());
      put(told_->complaint.data(), told_->complaint.size(), make_node(damaged(), deeds_, *told_));
      copy_folder(damaged(), original());
    });
    ASSERT_EQ(status, 0) << content_of(folder_.file("said"));
    ASSERT_STREQ(told_->complaint.data(), "");
    check_a_copy("nothing");
  }
  std::string original() const { return folder_.file("original"); }
  std::string damaged() const { return folder_.file("damaged"); }

  // The files beside the disk that hold something, without the logs.
  std::vector<std::string> files_in(const std::string& part) const {
    std::set<std::string> found;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(original())) {
      const std::string name = entry.path().string().substr(original().size());
      const bool holds = entry.is_regular_file() && entry.file_size() > 0;
      const std::string last = entry.path().filename().string();
      if (holds && name.starts_with("/" + part) && !last.starts_with("LOG")) found.insert(name);
    }
    return {found.begin(), found.end()};
  }
  void check_a_copy(const std::string& what) {
    told_->complaint = {};
    told_->catalogue_refused = told_->index_rebuilt = told_->index_rebuilt_by_look_up = false;
    const int status = in_a_child(folder_.file("said"), [&] {
      put(told_->complaint.data(), told_->complaint.size(), look(damaged_or_original(), deeds_, *told_));
    });
    EXPECT_EQ(status, 0) << what << ": " << content_of(folder_.file("said"));
    EXPECT_STREQ(told_->complaint.data(), "") << what;
  }
  std::string damaged_or_original() {
    if (!std::filesystem::exists(damaged())) copy_folder(original(), damaged());
    return damaged();
  }
  // Of all bytes some, of those that are not zero; in a long run each.
  void flip_bytes_of(const std::string& part, std::uint64_t cases) {
    struct At {
      std::string name;
      std::uint64_t byte = 0;
    };
    std::vector<At> candidates;
    for (const std::string& name : files_in(part)) {
      const std::string content = content_of(original() + name);
      for (std::uint64_t i = 0; i < content.size(); ++i) {
        if (long_run() || content[i] != 0) candidates.push_back({name, i});
      }
    }
    ASSERT_GT(candidates.size(), cases);
    const std::uint64_t step = long_run() ? 1 : candidates.size() / cases;
    std::uint64_t tried = 0;
    std::uint64_t refused = 0;
    for (std::uint64_t i = first_seed(0) % step; i < candidates.size(); i += step) {
      copy_folder(original(), damaged());
      flip(damaged() + candidates[i].name, candidates[i].byte);
      check_a_copy(candidates[i].name + " byte " + std::to_string(candidates[i].byte));
      if (HasFailure()) return;
      ++tried;
      refused += told_->catalogue_refused ? 1 : 0;
    }
    std::printf("%s: %llu of %zu bytes; %llu kept the tables from being shown\n", part.c_str(),
                static_cast<unsigned long long>(tried), candidates.size(),
                static_cast<unsigned long long>(refused));
    EXPECT_LE(refused, 8u) << "the names of the program and of the version in the header are eight bytes";
  }
  static void flip(const std::string& path, std::uint64_t at) {
    const int file = ::open(path.c_str(), O_RDWR);
    unsigned char byte = 0;
    ASSERT_EQ(::pread(file, &byte, 1, static_cast<off_t>(at)), 1);
    byte = static_cast<unsigned char>(byte ^ 1u << at % 8);
    ASSERT_EQ(::pwrite(file, &byte, 1, static_cast<off_t>(at)), 1);
    ::close(file);
  }

  const std::vector<Deed> deeds_ = story_of(6);
  TemporaryFolder folder_;
  Shared<Told> told_;
};

TEST_F(DamagedFiles, AByteOfTheCatalogueThatIsAnotherIsMadeGood) {
  flip_bytes_of("catalogue", rounds(40, 6));
}

TEST_F(DamagedFiles, AByteOfTheIndexThatIsAnotherIsNeverServed) {
  flip_bytes_of("index", rounds(40, 6));
}

// Opening a run reads its first block, which describes it. Damage of the others is met by a look-up, the
// first of which a start makes.
TEST_F(DamagedFiles, ABlockOfARunThatIsDamagedIsMetByALookupAndTheIndexRebuilt) {
  std::vector<std::string> runs;
  for (const std::string& name : files_in("index")) {
    if (name.ends_with(".sst")) runs.push_back(name);
  }
  ASSERT_FALSE(runs.empty());
  std::uint64_t tried = 0;
  std::uint64_t met = 0;
  for (const std::string& name : runs) {
    // Blocks of keys come first in the file, then what finds and describes them.
    const std::uint64_t size = std::filesystem::file_size(original() + name);
    for (std::uint64_t at = 2 * kIndexBlockBytes; at < size / 3; at += kIndexBlockBytes) {
      copy_folder(original(), damaged());
      flip(damaged() + name, at);
      check_a_copy(name + " byte " + std::to_string(at));
      if (HasFailure()) return;
      EXPECT_TRUE(told_->index_rebuilt) << name << " byte " << at;
      ++tried;
      met += told_->index_rebuilt_by_look_up ? 1 : 0;
    }
  }
  ASSERT_GT(tried, 0u);
  EXPECT_GT(met, tried / 2);
}

// The next change is refused, as by a file system that is full for a moment.
class RefusingCatalogue final : public catalog::Catalog {
 public:
  RefusingCatalogue(std::unique_ptr<catalog::Catalog> inner, bool* refuses)
      : inner_(std::move(inner)), refuses_(refuses) {}
  Result<void> apply(const catalog::Changes& changes) override {
    if (*refuses_) return fail(ErrorCode::kNoSpace, "no space for the catalogue");
    return inner_->apply(changes);
  }
  Result<catalog::Table> query(const catalog::Query& query) override { return inner_->query(query); }
  Result<std::vector<catalog::TableCheck>> check(const catalog::Changes& rows,
                                                 const std::vector<catalog::TableName>& tables,
                                                 WallTime log_ids_since) override {
    return inner_->check(rows, tables, log_ids_since);
  }

 private:
  std::unique_ptr<catalog::Catalog> inner_;
  bool* refuses_;
};

std::string log_ids_after_a_refusal(const std::string& folder) {
  bool refuses = false;
  RealNode node(folder);
  node.wrap_catalogue = [&refuses](std::unique_ptr<catalog::Catalog> inner) {
    return std::make_unique<RefusingCatalogue>(std::move(inner), &refuses);
  };
  const std::vector<Deed> deeds = story_of(1);
  const auto tell = [&]() -> Result<std::string> {
    TM_TRY(node.start());
    TM_TRY(node.make_group({kVolumes[0], kVolumes[1]}));
    TM_TRY_ASSIGN(Targets targets, open_volumes(node));
    for (std::uint32_t i = 0; i < deeds.size(); ++i) {
      refuses = i == 2;
      TM_TRY(carry_out(node, targets, i + 1, deeds[i]));
      TM_TRY(node.run(targets[0]->flush()));
      if (tables_of(node).ok() == refuses) return fail(ErrorCode::kIo, "the catalogue did not refuse");
    }
    refuses = false;
    TM_TRY_ASSIGN(const std::string before, tables_of(node));
    targets = {};
    TM_TRY(node.stop());
    TM_TRY(node.start());
    TM_TRY_ASSIGN(const std::string anew, tables_of(node));
    return before == anew ? std::string() : "before and after a restart:" + first_difference(anew, before);
  };
  auto told = tell();
  return told.ok() ? std::move(told).value() : told.error().message;
}

TEST(Catalogue, RowsThatItRefusedAreWrittenLater) {
  const TemporaryFolder folder;
  Shared<Told> told;
  const int status = in_a_child(folder.file("said"), [&] {
    std::filesystem::create_directory(folder.file("node"));
    put(told->complaint.data(), told->complaint.size(), log_ids_after_a_refusal(folder.file("node")));
  });
  EXPECT_EQ(status, 0) << content_of(folder.file("said"));
  EXPECT_STREQ(told->complaint.data(), "");
}

TEST_F(DamagedFiles, FilesThatAreCutAreMadeGood) {
  for (const char* part : {"catalogue", "index"}) {
    for (const std::string& name : files_in(part)) {
      for (const std::uint64_t kept : {std::uint64_t{0}, std::filesystem::file_size(original() + name) / 2}) {
        copy_folder(original(), damaged());
        std::filesystem::resize_file(damaged() + name, kept);
        check_a_copy(name + " cut to " + std::to_string(kept) + " bytes");
        if (HasFailure()) return;
      }
    }
  }
}

}  // namespace
}  // namespace tidemark
