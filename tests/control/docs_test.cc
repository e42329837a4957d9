// docs/openapi.yaml and docs/cli.md are written from the program itself, so that they cannot disagree with
// it. After a change: TIDEMARK_WRITE_DOCS=1 build/.../test_control --gtest_filter='Docs.*'
// The tables of metrics and events are written by hand, and held against the sources.

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <regex>
#include <set>

#include "base/time.h"
#include "control/router.h"
#include "control/types_fields.h"
#include "control/types_json.h"
#include "run_program.h"

namespace tidemark::control {
namespace {

void expect_documented(const std::string& name, const std::string& text) {
  const std::string path = std::string(TIDEMARK_DOCS) + "/" + name;
  if (std::getenv("TIDEMARK_WRITE_DOCS") != nullptr) std::ofstream(path, std::ios::binary) << text;
  EXPECT_TRUE(read_file(path) == text) << path << " is out of date; see the head of docs_test.cc";
}

// "MarkInfo" for control::MarkInfo.
template <typename T>
std::string type_name() {
  const std::string text = __PRETTY_FUNCTION__;
  const std::size_t begin = text.find("T = ") + 4;
  const std::string full = text.substr(begin, text.find_first_of(";]", begin) - begin);
  return full.substr(full.rfind(':') + 1);
}

struct Member {
  std::string name;
  std::string schema;  // YAML in flow style
  bool required = false;
};

class Schemas {
 public:
  template <typename T>
  std::vector<Member> members();

  template <typename T>
  std::string of(const Rule& rule) {
    if constexpr (std::is_same_v<T, std::string>) return string_schema(rule);
    if constexpr (std::is_same_v<T, bool>) return "{type: boolean}";
    if constexpr (std::is_same_v<T, double>) return "{type: number}";
    if constexpr (std::is_same_v<T, std::uint32_t> || std::is_same_v<T, std::uint64_t>)
      return integer_schema(rule);
    if constexpr (std::is_same_v<T, Duration>) return "{type: integer, format: int64, minimum: 0}";
    if constexpr (std::is_same_v<T, LogId>) return reference("LogId");
    if constexpr (std::is_same_v<T, WallTime>) return reference("Time");
    if constexpr (std::is_same_v<T, BinaryData>) return "{type: string, format: byte}";
    if constexpr (std::is_same_v<T, TableCell>) return reference("TableCell");
    if constexpr (std::is_enum_v<T>) {
      std::string words;
      for (const auto& entry : enum_words(std::type_identity<T>{})) {
        // YAML 1.1 takes off, on, yes and no for truth values.
        const bool is_quoted = entry.text == "off" || entry.text == "on";
        const std::string text(entry.text);
        words += (words.empty() ? "" : ", ") + (is_quoted ? "'" + text + "'" : text);
      }
      return "{type: string, enum: [" + words + "]}";
    }
    if constexpr (requires(Schemas & v, T & value) { visit_fields(v, value); }) {
      if (texts_.emplace(type_name<T>(), "").second)
        texts_[type_name<T>()] = object_schema(members<T>(), "      ");
      return reference(type_name<T>());
    }
  }
  template <typename T>
  std::string of_member(const std::optional<T>&, const Rule& rule) {
    return of<T>(rule);
  }
  template <typename T>
  std::string of_member(const std::vector<T>&, const Rule&) {
    return "{type: array, items: " + of_member(T{}, {}) + "}";
  }
  template <typename T>
  std::string of_member(const T&, const Rule& rule) {
    return of<T>(rule);
  }

  static std::string object_schema(const std::vector<Member>& members, const std::string& indent) {
    std::string text = indent + "type: object\n";
    std::string required;
    for (const Member& member : members) {
      if (member.required) required += (required.empty() ? "" : ", ") + member.name;
    }
    if (!required.empty()) text += indent + "required: [" + required + "]\n";
    if (!members.empty()) text += indent + "properties:\n";
    for (const Member& member : members) text += indent + "  " + member.name + ": " + member.schema + "\n";
    return text;
  }

  const std::map<std::string, std::string>& texts() const { return texts_; }

  // So that `visit_fields(Schemas, T)` can be asked for; never called.
  template <typename T>
  void field(std::string_view, const T&, const Rule& = {}) {}
  template <typename T>
  void required(std::string_view, const T&, const Rule& = {}) {}

 private:
  static std::string reference(const std::string& name) {
    return "{$ref: '#/components/schemas/" + name + "'}";
  }
  static std::string string_schema(const Rule& rule) {
    if (rule.kind == Rule::Kind::kAny) return "{type: string}";
    std::string text = "{type: string, maxLength: " + std::to_string(rule.max);
    if (rule.kind == Rule::Kind::kName && !rule.empty_allowed)
      text += ", pattern: '^[A-Za-z0-9][A-Za-z0-9._-]*$'";
    return text + "}";
  }
  static std::string integer_schema(const Rule& rule) {
    std::string text = "{type: integer, format: int64, minimum: " + std::to_string(rule.min);
    if (rule.kind == Rule::Kind::kNumber) text += ", maximum: " + std::to_string(rule.max);
    return text + "}";
  }
  std::map<std::string, std::string> texts_;
};

struct MemberCollector {
  Schemas& schemas;
  std::vector<Member> members;
  template <typename T>
  void field(std::string_view name, const T& value, const Rule& rule = {}) {
    members.push_back({std::string(name), schemas.of_member(value, rule), false});
  }
  template <typename T>
  void required(std::string_view name, const T& value, const Rule& rule = {}) {
    members.push_back({std::string(name), schemas.of_member(value, rule), true});
  }
};

template <typename T>
std::vector<Member> Schemas::members() {
  const T value{};
  MemberCollector collector{*this, {}};
  visit_fields(collector, value);
  return std::move(collector.members);
}

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// As YAML wants a text that may have a colon in it.
std::string quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("''") : std::string(1, c);
  return out + "'";
}

// One operation under its path.
template <typename Request>
std::string operation_text(Schemas& schemas) {
  const RouteInfo& route = OperationOf<Request>::kRoute;
  const bool has_body = route.method == "POST" || route.method == "PATCH";
  std::string parameters;
  std::vector<Member> body;
  for (const Member& member : schemas.members<Request>()) {
    const bool in_path = route.path.find("{" + member.name + "}") != std::string_view::npos;
    if (!in_path && has_body) {
      body.push_back(member);
      continue;
    }
    parameters += "        - {name: " + member.name + ", in: " + (in_path ? "path" : "query") +
                  ", required: " + (member.required ? "true" : "false") + ", schema: " + member.schema +
                  "}\n";
  }
  std::string text =
      "    " + lower(std::string(route.method)) + ":\n      operationId: " + std::string(route.operation) +
      "\n      summary: " + quoted(route.summary) + "\n      x-role: " + std::string(role_word(route.role)) +
      "\n      parameters:\n" + parameters + "        - {$ref: '#/components/parameters/timeout_seconds'}\n";
  if (has_body) {
    text +=
        "      requestBody:\n        required: true\n        content:\n          application/json:\n         "
        "   schema:\n" +
        Schemas::object_schema(body, "              ") + "              additionalProperties: false\n";
  }
  return text +
         "      responses:\n        '200':\n          description: The answer\n          content:\n"
         "            application/json:\n              schema:\n                allOf:\n"
         "                  - {$ref: '#/components/schemas/Versioned'}\n                  - " +
         schemas.of<typename OperationOf<Request>::Reply>({}) +
         "\n        default: {$ref: '#/components/responses/Error'}\n";
}

constexpr char kHead[] = R"(# Written by tests/control/docs_test.cc from the program; change it there.
openapi: 3.0.3
info:
  title: Tidemark control API
  version: '1'
  description: |
    What a node can be asked for. Served on a unix socket (mode 0600, DIR/control.sock), for whoever may open it, and
    optionally on TCP (docs/tls.md): with TLS 1.3 and tokens, whose roles are viewer, operator and administrator, each
    of which may do what those before it may; without them on loopback addresses only, and open. x-role is the least
    role that an operation needs; pair_resync with `from` or `give_up_window` and pair_verify with `repair` need
    administrator.

    Every answer is an object with "version": 1; answers only ever gain members. Requests are checked in full: an
    unknown key is refused by name. A body is JSON of at most 1 MiB with Content-Type application/json and a
    Content-Length.

    An answer that has bytes (`data`) holds them in base64. Asked with `Accept: application/octet-stream`, it is the
    JSON with an empty `data`, a line feed, and then the bytes as they are.

    A POINT is a mark id, time:RFC3339, log:EPOCH.SEQ, head or floor. Members whose name ends in _bytes are bytes,
    _ns nanoseconds, _seconds seconds. A member that is absent from an answer is not known or does not apply.
servers:
  - {url: 'https://tokyo.example.org:7081'}
  - {url: 'http://127.0.0.1:7081', description: 'on loopback, where the node has no tokens'}
security:
  - token: []
paths:
  /metrics:
    get:
      operationId: metrics
      summary: Metrics for Prometheus
      x-role: viewer
      responses:
        '200': {description: The Prometheus text format 0.0.4, content: {text/plain: {schema: {type: string}}}}
        default: {$ref: '#/components/responses/Error'}
  /healthz:
    get:
      operationId: health
      summary: Whether the node works on requests
      security: []
      responses:
        '200': {description: It does, content: {application/json: {schema: {$ref: '#/components/schemas/Health'}}}}
        default: {$ref: '#/components/responses/Error'}
)";

constexpr char kComponents[] = R"(components:
  securitySchemes:
    token: {type: http, scheme: bearer, description: 'the secret of a token; `tidemark token create` makes one'}
  parameters:
    timeout_seconds:
      name: timeout_seconds
      in: query
      description: How long to wait; 60 by default. A request that takes longer answers 504 and goes on.
      schema: {type: integer, minimum: 1, maximum: 600}
  responses:
    Error:
      description: |
        The status goes with the code: 400 invalid, 401 and 403 denied, 403 read-only, 404 not-found, 409 exists, refused, not-received,
        in-gap, 410 expired, 500 io, damaged, 501 unsupported, 502 closed, 503 busy, shutdown, 504 timeout, 507
        no-space. Malformed requests may also answer 405, 411, 413, 414 and 415.
      content: {application/json: {schema: {$ref: '#/components/schemas/Error'}}}
  schemas:
    Versioned:
      type: object
      required: [version]
      properties:
        version: {type: integer, enum: [1]}
    Health:
      type: object
      properties:
        version: {type: integer, enum: [1]}
        healthy: {type: boolean}
    LogId: {type: string, pattern: '^[0-9]+\.[0-9]+$', example: '1.42', description: EPOCH.SEQUENCE}
    Time:
      description: Answers have the object; a request may also give RFC 3339 text.
      oneOf:
        - type: object
          required: [ns]
          properties:
            ns: {type: integer, format: int64, description: nanoseconds since 1970-01-01T00:00:00Z}
            time: {type: string, format: date-time}
        - {type: string, format: date-time}
    TableCell: {nullable: true, oneOf: [{type: integer, format: int64}, {type: number}, {type: string}]}
)";

std::string error_schema() {
  std::string codes;
  for (int i = 0; i <= static_cast<int>(ErrorCode::kDenied); ++i) {
    codes += (i == 0 ? "" : ", ") + std::string(error_code_name(static_cast<ErrorCode>(i)));
  }
  return "    Error:\n      type: object\n      required: [version, error]\n      properties:\n"
         "        version: {type: integer, enum: [1]}\n        error:\n          type: object\n"
         "          required: [code, message]\n          properties:\n            code: {type: string, enum: "
         "[" +
         codes + "]}\n            message: {type: string}\n";
}

TEST(Docs, OpenApiSaysWhatTheServerTakes) {
  Schemas schemas;
  std::vector<std::string> paths;
  std::map<std::string, std::string> operations;
  const auto add = [&](std::string_view path, const std::string& text) {
    std::string& known = operations[std::string(path)];
    if (known.empty()) paths.emplace_back(path);
    known += text;
  };
#define TM_PATH(operation, Request, Reply, role, method, path, summary) \
  add(path, operation_text<Request>(schemas));
  TM_CONTROL_OPERATIONS(TM_PATH)
#undef TM_PATH
  std::string text = kHead;
  for (const std::string& path : paths) text += "  " + path + ":\n" + operations[path];
  text += kComponents + error_schema();
  for (const auto& [name, schema] : schemas.texts()) text += "    " + name + ":\n" + schema;
  expect_documented("openapi.yaml", text);
}

constexpr char kCliHead[] = R"(# tidemark: the command line

<!-- Written by tests/control/docs_test.cc from the program's own help; change it there. -->

`tidemark` asks a node over its control API and prints the answer. It talks to one node at a time.

## Finding the node

`--node` takes an address (`unix:PATH`, `tcp:HOST:PORT`, `https://HOST:PORT`), a node's data folder, or the path of
its control socket. Without it `$TIDEMARK_NODE` is used, then the current folder if it holds a `control.sock`.

TCP to another machine is TLS 1.3; so is `https://`, and `tcp:` on loopback when CAs are named. The node's certificate must
be one for HOST, of a CA in the file that `--ca` or `$TIDEMARK_CA` names, else of one that this machine trusts. The
secret of a token is shown over TCP: that in the file of `--token-file`, else `$TIDEMARK_TOKEN`, else that in the file of
`$TIDEMARK_TOKEN_FILE`. [TLS](tls.md#the-control-api) says how a node comes to have a certificate and tokens.

## Output

Results go to standard output, messages to standard error. `-o json` prints the answer of the control API
(docs/openapi.yaml): an object with `"version": 1` that only ever gains members; a failure prints an object with
`"error": {"code", "message"}`. Progress bars appear on standard error when that is a terminal. Control characters in
names and notes are shown escaped in tables.

## The host's own table

Each mark that is asked for on a host goes into a table of this host's own, before the node is asked and with its
outcome afterwards: a SQLite file that `--host-table` or `$TIDEMARK_HOST_TABLE` names, else
`/var/lib/tidemark-host/marks.db` for root, `$XDG_STATE_HOME/tidemark/marks.db` or `~/.local/state/tidemark/marks.db`
for others. The rows are in `host_mark`. When it cannot be written, the mark is made all the same, with a warning. It grows by
a row a mark; `mark prune` removes old rows, but for those without an answer. It may be deleted, then only it is forgotten.

| state | what became of the mark |
|---|---|
| `made` | the node has it, at this log id and timer value |
| `failed` | the node refused it; it was not made |
| `unknown` | no answer came: the node was away, or the time was over. It may have been made |
| `pending` | the command was cut off before it had an answer |

`mark create` with the id of an `unknown` or `pending` row is the same request again: the node makes the mark, or is
found to have made it then. `mark reconcile` completes such rows too.

## Exit codes

| code | meaning |
|---|---|
| 0 | done |
| 1 | refused, or failed; the message says why and what to do. Also of a check that found something: `table check`, `raid scrub`, `journal verify`, `pair verify`, `mark reconcile` |
| 2 | the command line is wrong |
| 3 | timed out waiting; what was asked may still take effect |

`tidemark run` ends with the status of its program: 127 when that is not found, 126 when it cannot be run. `tidemark status`
ends with 0 whatever problems it shows.

## Points, sizes, times

A POINT is a mark id, `time:RFC3339`, `log:EPOCH.SEQ`, `head` or `floor`. Sizes are written `4096`, `512M`, `10G`,
`1.5T` (powers of 1024), times `90s`, `15m`, `24h`, `7d`.

## Commands
)";

// The names under "Subcommands:".
std::vector<std::string> subcommands_in(const std::string& help) {
  std::vector<std::string> names;
  const std::size_t begin = help.find("Subcommands:\n");
  if (begin == std::string::npos) return names;
  std::istringstream lines(help.substr(begin + 13));
  for (std::string line; std::getline(lines, line) && line.starts_with("  ");) {
    names.push_back(line.substr(2, line.find(' ', 2) - 2));
  }
  return names;
}

void add_help(const TestFolder& folder, const std::string& command, std::string& text) {
  const ProgramResult result = run_shell(folder, std::string(TIDEMARK_PROGRAM) + command + " --help");
  ASSERT_EQ(result.exit_code, 0) << command << ": " << result.err;
  const std::vector<std::string> names = subcommands_in(result.out);
  if (names.empty()) {
    EXPECT_NE(result.out.find("\nExample:\n  "), std::string::npos) << command << " has no example";
  }
  text += "\n" + std::string(names.empty() ? "### `tidemark" : "## `tidemark") + command + "`\n\n```text\n" +
          result.out;
  while (text.ends_with("\n\n")) text.pop_back();
  text += "```\n";
  for (const std::string& name : names) add_help(folder, command + " " + name, text);
}

// What matches `pattern` in `text`, by its group `group`.
std::set<std::string> all_matches(const std::string& text, const std::string& pattern, std::size_t group) {
  const std::regex expression(pattern);
  std::set<std::string> found;
  for (std::sregex_iterator at(text.begin(), text.end(), expression), end; at != end; ++at)
    found.insert((*at)[group].str());
  return found;
}

std::string source_path(const std::string& name) {
  return std::string(TIDEMARK_DOCS) + "/../" + name;
}

TEST(Docs, EveryMetricIsDescribedAndNoOther) {
  const std::string name = "tidemark_[a-z_]+";
  const std::set<std::string> printed =
      all_matches(read_file(source_path("src/control/metrics.cc")), "\"(" + name + ")\"", 1);
  EXPECT_GT(printed.size(), 20u);
  const std::string page = read_file(std::string(TIDEMARK_DOCS) + "/monitoring.md");
  EXPECT_EQ(all_matches(page, "\n\\| `(" + name + ")` \\|", 1), printed);
  // Those of the alerts.
  for (const std::string& named : all_matches(page, name, 0)) EXPECT_TRUE(printed.contains(named)) << named;
}

// The events that a file logs: the names in the first argument, of which there are two in `x ? "a" : "b"`.
std::set<std::string> events_of(const std::string& source) {
  static const std::regex call("\\b(log|log_|log_line|report_|tell)\\(");
  std::set<std::string> events;
  for (std::sregex_iterator at(source.begin(), source.end(), call), end; at != end; ++at) {
    const auto begin = static_cast<std::size_t>(at->position() + at->length());
    const std::string argument = source.substr(begin, source.find_first_of(",;", begin) - begin);
    events.merge(all_matches(argument, "\"([a-z]+(-[a-z]+)*)\"", 1));
  }
  return events;
}

TEST(Docs, EveryEventIsDescribedAndNoOther) {
  std::set<std::string> logged;
  for (const char* folder : {"src", "apps/tidemarkd"}) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(source_path(folder))) {
      const std::filesystem::path extension = entry.path().extension();
      if (extension == ".cc" || extension == ".h") logged.merge(events_of(read_file(entry.path().string())));
    }
  }
  EXPECT_GT(logged.size(), 80u);
  const std::string page = read_file(std::string(TIDEMARK_DOCS) + "/configuration.md");
  const std::size_t begin = page.find("| event | tells |");
  ASSERT_NE(begin, std::string::npos);
  std::set<std::string> described;
  std::istringstream rows(page.substr(begin, page.find("\n\n", begin) - begin));
  for (std::string row; std::getline(rows, row);)
    described.merge(all_matches(row.substr(0, row.find(" | ")), "`([a-z-]+)`", 1));
  for (const std::string& event : logged)
    EXPECT_TRUE(described.contains(event)) << event << " is not described";
  for (const std::string& event : described)
    EXPECT_TRUE(logged.contains(event)) << event << " is never logged";
}

TEST(Docs, TheCommandLineIsDocumentedAsItIs) {
  const TestFolder folder;
  std::string text = kCliHead;
  add_help(folder, "", text);
  expect_documented("cli.md", text);
}

}  // namespace
}  // namespace tidemark::control
