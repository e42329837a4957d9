#include "catalog/database.h"

#include <sqlite3.h>

#include <array>
#include <utility>

#include "base/names.h"

namespace tidemark::catalog {
namespace {

ErrorCode code_for(int result_code) {
  switch (result_code & 0xff) {  // the primary code; the rest is detail
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT:
    case SQLITE_ERROR:  // our own statements are right: the tables are not what they should be
      return ErrorCode::kDamaged;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return ErrorCode::kBusy;
    case SQLITE_FULL:
      return ErrorCode::kNoSpace;
    case SQLITE_READONLY:
    case SQLITE_PERM:
      return ErrorCode::kReadOnly;
    default:
      return ErrorCode::kIo;
  }
}

}  // namespace

Result<Database> Database::open(const std::string& path, const char* what) {
  sqlite3* handle = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX;
  const int result_code = sqlite3_open_v2(path.c_str(), &handle, flags, nullptr);
  Database database(handle, path, what);
  if (result_code != SQLITE_OK) return database.error(result_code, "cannot be opened");
  sqlite3_extended_result_codes(handle, 1);
  sqlite3_busy_timeout(handle, kBusyWaitMsMax);
  return database;
}

Database::Database(Database&& other) noexcept
    : handle_(std::exchange(other.handle_, nullptr)), path_(std::move(other.path_)), what_(other.what_) {}

Database& Database::operator=(Database&& other) noexcept {
  std::swap(handle_, other.handle_);
  std::swap(path_, other.path_);
  std::swap(what_, other.what_);
  return *this;
}

Database::~Database() {
  sqlite3_close_v2(handle_);
}

Error Database::error(int result_code, std::string_view doing) const {
  const char* detail = handle_ != nullptr ? sqlite3_errmsg(handle_) : sqlite3_errstr(result_code);
  return fail(code_for(result_code),
              std::string(what_) + " " + printable(path_, 200) + " " + std::string(doing) + ": " + detail);
}

bool Database::read_only() const {
  return sqlite3_db_readonly(handle_, "main") == 1;
}

Result<void> Database::execute(const std::string& sql) {
  const int result_code = sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr);
  if (result_code != SQLITE_OK) return error(result_code, "cannot be changed");
  return Result<void>{};
}

Result<Statement> Database::prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int result_code =
      sqlite3_prepare_v2(handle_, sql.data(), static_cast<int>(sql.size()), &statement, nullptr);
  if (result_code != SQLITE_OK) return error(result_code, "cannot be read");
  return Statement(this, statement);
}

Result<std::int64_t> Database::query_integer(const std::string& sql) {
  TM_TRY_ASSIGN(Statement statement, prepare(sql));
  TM_TRY_ASSIGN(const bool row, statement.step());
  return row ? statement.column_integer(0) : std::int64_t{0};
}

Result<std::string> Database::query_text(const std::string& sql) {
  TM_TRY_ASSIGN(Statement statement, prepare(sql));
  TM_TRY_ASSIGN(const bool row, statement.step());
  return row ? statement.column_text(0) : std::string();
}

Statement::Statement(Statement&& other) noexcept
    : database_(other.database_),
      handle_(std::exchange(other.handle_, nullptr)),
      bound_(other.bound_),
      bind_error_(other.bind_error_) {}

Statement& Statement::operator=(Statement&& other) noexcept {
  std::swap(database_, other.database_);
  std::swap(handle_, other.handle_);
  std::swap(bound_, other.bound_);
  std::swap(bind_error_, other.bind_error_);
  return *this;
}

Statement::~Statement() {
  sqlite3_finalize(handle_);
}

Statement& Statement::bind(std::int64_t value) {
  const int result_code = sqlite3_bind_int64(handle_, ++bound_, value);
  if (result_code != SQLITE_OK) bind_error_ = result_code;
  return *this;
}

Statement& Statement::bind(std::string_view value) {
  const int result_code = sqlite3_bind_text64(handle_, ++bound_, value.data() == nullptr ? "" : value.data(),
                                              value.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
  if (result_code != SQLITE_OK) bind_error_ = result_code;
  return *this;
}

Statement& Statement::bind(std::optional<std::int64_t> value) {
  if (value.has_value()) return bind(*value);
  const int result_code = sqlite3_bind_null(handle_, ++bound_);
  if (result_code != SQLITE_OK) bind_error_ = result_code;
  return *this;
}

Result<bool> Statement::step() {
  if (bind_error_ != 0) return database_->error(bind_error_, "refused a parameter");
  const int result_code = sqlite3_step(handle_);
  if (result_code == SQLITE_ROW) return true;
  if (result_code == SQLITE_DONE) return false;
  return database_->error(result_code, "cannot be used");
}

Result<void> Statement::run() {
  auto stepped = step();
  reset();
  if (!stepped.ok()) return std::move(stepped).error();
  return Result<void>{};
}

void Statement::reset() {
  sqlite3_reset(handle_);
  sqlite3_clear_bindings(handle_);
  bound_ = 0;
  bind_error_ = 0;
}

int Statement::column_count() const {
  return sqlite3_column_count(handle_);
}

std::string Statement::column_name(int column) const {
  return sqlite3_column_name(handle_, column);
}

bool Statement::column_is_null(int column) const {
  return sqlite3_column_type(handle_, column) == SQLITE_NULL;
}

bool Statement::column_is_integer(int column) const {
  return sqlite3_column_type(handle_, column) == SQLITE_INTEGER;
}

std::int64_t Statement::column_integer(int column) const {
  return sqlite3_column_int64(handle_, column);
}

std::string Statement::column_text(int column) const {
  const unsigned char* text = sqlite3_column_text(handle_, column);
  if (text == nullptr) return {};
  return std::string(reinterpret_cast<const char*>(text),
                     static_cast<std::size_t>(sqlite3_column_bytes(handle_, column)));
}

Result<Transaction> Transaction::begin(Database& database) {
  TM_TRY(database.execute("BEGIN IMMEDIATE"));
  return Transaction(database);
}

Transaction::~Transaction() {
  if (database_ == nullptr) return;
  // Some errors have ended the transaction already; then there is nothing to roll back.
  static_cast<void>(database_->execute("ROLLBACK").ok());
}

Result<void> Transaction::commit() {
  TM_TRY(database_->execute("COMMIT"));
  database_ = nullptr;
  return Result<void>{};
}

Result<void> remove_database(const std::string& path) {
  sqlite3_vfs* vfs = sqlite3_vfs_find(nullptr);
  if (vfs == nullptr) return fail(ErrorCode::kIo, "SQLite has no file system layer");
  // The write-ahead log goes first: beside a new database it would be taken for that one's.
  for (const char* suffix : std::array<const char*, 4>{"-wal", "-shm", "-journal", ""}) {
    const std::string file = path + suffix;
    const int result_code = vfs->xDelete(vfs, file.c_str(), /*syncDir=*/1);
    if (result_code != SQLITE_OK && result_code != SQLITE_IOERR_DELETE_NOENT) {
      return fail(ErrorCode::kIo, "cannot remove " + printable(file, 200) + ": " +
                                      sqlite3_errstr(result_code) + "; remove it by hand");
    }
  }
  return Result<void>{};
}

Result<void> migrate(Database& database, std::int32_t application_id, std::span<const char* const> versions) {
  TM_TRY_ASSIGN(const std::int64_t version, database.query_integer("PRAGMA user_version"));
  TM_TRY_ASSIGN(const std::int64_t owner, database.query_integer("PRAGMA application_id"));
  TM_TRY_ASSIGN(const std::int64_t tables, database.query_integer("SELECT count(*) FROM sqlite_schema"));
  const bool fresh = version == 0 && owner == 0 && tables == 0;
  if (!fresh && owner != application_id) {
    return fail(ErrorCode::kRefused,
                printable(database.path(), 200) + " is a database of another program; move it away");
  }
  if (version < 0 || version > static_cast<std::int64_t>(versions.size())) {
    return fail(ErrorCode::kUnsupported, "the catalogue " + printable(database.path(), 200) +
                                             " is of version " + std::to_string(version) +
                                             ", this program knows up to " + std::to_string(versions.size()) +
                                             "; use the newer program, or remove the file: it is " +
                                             "built again");
  }
  for (std::size_t next = static_cast<std::size_t>(version); next < versions.size(); ++next) {
    TM_TRY_ASSIGN(Transaction transaction, Transaction::begin(database));
    TM_TRY(database.execute(versions[next]));
    TM_TRY(database.execute("PRAGMA application_id = " + std::to_string(application_id)));
    TM_TRY(database.execute("PRAGMA user_version = " + std::to_string(next + 1)));
    TM_TRY(transaction.commit());
  }
  return Result<void>{};
}

}  // namespace tidemark::catalog
