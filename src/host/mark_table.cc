#include "host/mark_table.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/names.h"
#include "control/types_json.h"
#include "host/local.h"

namespace tidemark::host {
namespace {

constexpr std::int32_t kApplicationId = 0x544d4b48;  // "TMKH"
constexpr std::int64_t kVersion = 1;
constexpr char kWhat[] = "the host's table of marks";
// Times are text for people, in UTC, beside the nanoseconds that the node compares.
constexpr char kSchema[] = R"(
CREATE TABLE host_mark(
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  group_name TEXT NOT NULL,
  mark_id TEXT NOT NULL,
  node TEXT NOT NULL,
  state TEXT NOT NULL,
  host_time TEXT NOT NULL,
  host_time_ns INTEGER NOT NULL,
  host TEXT NOT NULL,
  program TEXT NOT NULL,
  path TEXT NOT NULL,
  note TEXT NOT NULL,
  log_id TEXT NOT NULL DEFAULT '',
  timer TEXT NOT NULL DEFAULT '',
  timer_ns INTEGER,
  outcome TEXT NOT NULL DEFAULT ''
);
CREATE INDEX host_mark_by_id ON host_mark(group_name, mark_id, number);
)";
// Made when the first rows are removed: until when they were, of which group ('': of all).
constexpr char kPrunedSchema[] = R"(
CREATE TABLE IF NOT EXISTS host_mark_pruned(
  group_name TEXT PRIMARY KEY,
  before TEXT NOT NULL,
  before_ns INTEGER NOT NULL
);
)";
// Of the group ?1 (empty: of any), asked for before ?2.
constexpr char kIsOld[] = "(?1 = '' OR group_name = ?1) AND host_time_ns < ?2";
constexpr char kIsAnswered[] = "state IN ('made', 'failed')";
constexpr char kColumns[] =
    "number, group_name, mark_id, node, state, host_time_ns, host, program, path, note, log_id, timer_ns, "
    "outcome";

control::HostMarkState parse_state(const std::string& text) {
  for (const auto& entry : control::enum_words(std::type_identity<control::HostMarkState>{})) {
    if (entry.text == text) return entry.value;
  }
  return control::HostMarkState::kUnknown;
}

control::HostMark read_row(const catalog::Statement& row) {
  control::HostMark mark;
  mark.number = static_cast<std::uint64_t>(row.column_integer(0));
  mark.group = row.column_text(1);
  mark.id = row.column_text(2);
  mark.node = row.column_text(3);
  mark.state = parse_state(row.column_text(4));
  mark.host_time = WallTime{row.column_integer(5)};
  mark.host = row.column_text(6);
  mark.program = row.column_text(7);
  mark.path = row.column_text(8);
  mark.note = row.column_text(9);
  const Result<LogId> log_id = control::parse_log_id(row.column_text(10));
  if (log_id.ok()) mark.log_id = *log_id;
  if (!row.column_is_null(11)) mark.timer = WallTime{row.column_integer(11)};
  mark.outcome = row.column_text(12);
  return mark;
}

// SQLite would make it readable for all; what is asked for here may be nobody's business.
Result<void> make_file(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash != std::string::npos && slash > 0) TM_TRY(make_folders(path.substr(0, slash)));
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (descriptor < 0) return system_error(std::string(kWhat) + " " + printable(path, 200));
  ::close(descriptor);
  return {};
}

}  // namespace

Result<MarkTable> MarkTable::prepare(const std::string& path) {
  TM_TRY_ASSIGN(catalog::Database database, catalog::Database::open(path, kWhat));
  TM_TRY(database.execute("PRAGMA synchronous = FULL"));
  TM_TRY_ASSIGN(const std::int64_t tables, database.query_integer("SELECT count(*) FROM sqlite_schema"));
  TM_TRY_ASSIGN(std::int64_t owner, database.query_integer("PRAGMA application_id"));
  if (tables == 0 && owner == 0) {
    TM_TRY_ASSIGN(catalog::Transaction transaction, catalog::Transaction::begin(database));
    TM_TRY_ASSIGN(owner, database.query_integer("PRAGMA application_id"));
    if (owner == 0) {  // nobody was faster
      TM_TRY(database.execute(kSchema));
      TM_TRY(database.execute("PRAGMA application_id = " + std::to_string(kApplicationId)));
      TM_TRY(database.execute("PRAGMA user_version = " + std::to_string(kVersion)));
      TM_TRY(transaction.commit());
      owner = kApplicationId;
    }
  }
  if (owner != kApplicationId) {
    return fail(ErrorCode::kRefused, printable(path, 200) +
                                         " is a database of another program; name another file with "
                                         "--host-table");
  }
  TM_TRY_ASSIGN(const std::int64_t version, database.query_integer("PRAGMA user_version"));
  if (version != kVersion) {
    return fail(ErrorCode::kUnsupported, std::string(kWhat) + " " + printable(path, 200) + " is of version " +
                                             std::to_string(version) + ", this program knows " +
                                             std::to_string(kVersion) + "; use the newer program");
  }
  return MarkTable(std::move(database));
}

Result<MarkTable> MarkTable::open(const std::string& path) {
  TM_TRY(make_file(path));
  return prepare(path);
}

Result<std::optional<MarkTable>> MarkTable::open_existing(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return std::optional<MarkTable>();
    return system_error(std::string(kWhat) + " " + printable(path, 200));
  }
  TM_TRY_ASSIGN(MarkTable table, prepare(path));
  return std::optional<MarkTable>(std::move(table));
}

Result<std::uint64_t> MarkTable::add(const control::HostMark& mark) {
  TM_TRY_ASSIGN(catalog::Statement statement,
                database_.prepare("INSERT INTO host_mark(group_name, mark_id, node, state, host_time, "
                                  "host_time_ns, host, program, path, note) VALUES(?,?,?,?,?,?,?,?,?,?) "
                                  "RETURNING number"));
  statement.bind(mark.group)
      .bind(mark.id)
      .bind(mark.node)
      .bind(control::word(control::HostMarkState::kPending))
      .bind(format_time(mark.host_time))
      .bind(mark.host_time.ns)
      .bind(mark.host)
      .bind(mark.program)
      .bind(mark.path)
      .bind(mark.note);
  TM_TRY_ASSIGN(const bool row, statement.step());
  const std::int64_t number = row ? statement.column_integer(0) : 0;
  TM_TRY(statement.step());  // the row is there when the statement has come to its end
  return static_cast<std::uint64_t>(number);
}

Result<void> MarkTable::renew(const control::HostMark& mark) {
  TM_TRY_ASSIGN(
      catalog::Statement statement,
      database_.prepare("UPDATE host_mark SET node = ?, state = ?, host_time = ?, host_time_ns = ?, "
                        "host = ?, program = ?, path = ?, note = ?, outcome = '' WHERE number = ?"));
  statement.bind(mark.node)
      .bind(control::word(control::HostMarkState::kPending))
      .bind(format_time(mark.host_time))
      .bind(mark.host_time.ns)
      .bind(mark.host)
      .bind(mark.program)
      .bind(mark.path)
      .bind(mark.note)
      .bind(mark.number);
  return statement.run();
}

Result<void> MarkTable::settle(const control::HostMark& mark) {
  TM_TRY_ASSIGN(catalog::Statement statement,
                database_.prepare("UPDATE host_mark SET state = ?, node = ?, log_id = ?, timer = ?, timer_ns "
                                  "= ?, outcome = ? WHERE number = ?"));
  statement.bind(control::word(mark.state))
      .bind(mark.node)
      .bind(mark.log_id ? mark.log_id->to_string() : "")
      .bind(mark.timer ? format_time(*mark.timer) : "")
      .bind(mark.timer ? std::optional<std::int64_t>(mark.timer->ns) : std::nullopt)
      .bind(mark.outcome)
      .bind(mark.number);
  return statement.run();
}

Result<std::vector<control::HostMark>> MarkTable::find(const std::string& group, const std::string& id) {
  TM_TRY_ASSIGN(catalog::Statement statement,
                database_.prepare(std::string("SELECT ") + kColumns +
                                  " FROM host_mark WHERE group_name = ? AND mark_id = ? "
                                  "ORDER BY number DESC"));
  statement.bind(group).bind(id);
  std::vector<control::HostMark> marks;
  while (true) {
    TM_TRY_ASSIGN(const bool row, statement.step());
    if (!row) return marks;
    marks.push_back(read_row(statement));
  }
}

Result<std::vector<control::HostMark>> MarkTable::list(const std::string& group, std::uint64_t count_max) {
  const std::string where = group.empty() ? "" : " WHERE group_name = ?";
  TM_TRY_ASSIGN(catalog::Statement statement,
                database_.prepare(std::string("SELECT ") + kColumns + " FROM host_mark" + where +
                                  " ORDER BY number DESC LIMIT ?"));
  if (!group.empty()) statement.bind(group);
  statement.bind(static_cast<std::int64_t>(
      std::min<std::uint64_t>(count_max, std::numeric_limits<std::int64_t>::max())));
  std::vector<control::HostMark> marks;
  while (true) {
    TM_TRY_ASSIGN(const bool row, statement.step());
    if (!row) break;
    marks.push_back(read_row(statement));
  }
  std::ranges::reverse(marks);
  return marks;
}

Result<std::vector<std::string>> MarkTable::groups() {
  TM_TRY_ASSIGN(catalog::Statement statement,
                database_.prepare("SELECT DISTINCT group_name FROM host_mark ORDER BY group_name"));
  std::vector<std::string> names;
  while (true) {
    TM_TRY_ASSIGN(const bool row, statement.step());
    if (!row) break;
    names.push_back(statement.column_text(0));
  }
  return names;
}

Result<MarkTable::OldRows> MarkTable::count_before(const std::string& group, WallTime time) {
  TM_TRY_ASSIGN(catalog::Statement statement,
                database_.prepare(std::string("SELECT count(*), count(*) FILTER (WHERE ") + kIsAnswered +
                                  ") FROM host_mark WHERE " + kIsOld));
  statement.bind(group).bind(time.ns);
  OldRows rows;
  TM_TRY_ASSIGN(const bool row, statement.step());
  if (!row) return rows;
  rows.answered = static_cast<std::uint64_t>(statement.column_integer(1));
  rows.open = static_cast<std::uint64_t>(statement.column_integer(0)) - rows.answered;
  return rows;
}

Result<std::uint64_t> MarkTable::prune(const std::string& group, WallTime time, bool with_open) {
  TM_TRY(database_.execute(kPrunedSchema));
  {
    TM_TRY_ASSIGN(catalog::Statement noted,
                  database_.prepare("INSERT INTO host_mark_pruned VALUES(?, ?, ?) ON CONFLICT(group_name) DO "
                                    "UPDATE SET before = excluded.before, before_ns = excluded.before_ns "
                                    "WHERE before_ns < excluded.before_ns"));
    noted.bind(group).bind(format_time(time)).bind(time.ns);
    TM_TRY(noted.run());
  }
  TM_TRY_ASSIGN(
      catalog::Statement statement,
      database_.prepare(std::string("DELETE FROM host_mark WHERE number IN (SELECT number FROM "
                                    "host_mark WHERE ") +
                        kIsOld + (with_open ? "" : std::string(" AND ") + kIsAnswered) + " LIMIT ?3)"));
  std::uint64_t removed = 0;
  while (true) {
    statement.bind(group).bind(time.ns).bind(kPruneStep);
    TM_TRY(statement.run());
    TM_TRY_ASSIGN(const std::int64_t count, database_.query_integer("SELECT changes()"));
    removed += static_cast<std::uint64_t>(count);
    if (count < kPruneStep) return removed;
  }
}

Result<std::optional<WallTime>> MarkTable::pruned_before(const std::string& group) {
  TM_TRY_ASSIGN(
      const std::int64_t there,
      database_.query_integer("SELECT count(*) FROM sqlite_schema WHERE name = 'host_mark_pruned'"));
  if (there == 0) return std::optional<WallTime>();
  TM_TRY_ASSIGN(catalog::Statement statement,
                database_.prepare("SELECT max(before_ns) FROM host_mark_pruned WHERE group_name IN ('', ?)"));
  statement.bind(group);
  TM_TRY_ASSIGN(const bool row, statement.step());
  if (!row || statement.column_is_null(0)) return std::optional<WallTime>();
  return std::optional<WallTime>(WallTime{statement.column_integer(0)});
}

}  // namespace tidemark::host
