#include "control/types_json.h"

#include <gtest/gtest.h>

#include "control/base64.h"
#include "control/router.h"
#include "sample.h"

namespace tidemark::control {
namespace {

int hex_digit(char c) {
  return c <= '9' ? c - '0' : c - 'A' + 10;
}

std::string percent_decode(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      out.push_back(static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2])));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

// What the server makes of a client's request.
template <typename Request>
Result<Request> receive(const HttpRequest& sent) {
  const std::size_t question = sent.target.find('?');
  RouteMatch match = match_route(sent.method, sent.target.substr(0, question));
  EXPECT_NE(match.route, nullptr) << sent.method << " " << sent.target;
  if (match.route == nullptr) return fail(ErrorCode::kNotFound, "no route");
  EXPECT_EQ(match.route->info.operation, OperationOf<Request>::kRoute.operation);
  RequestParts parts{match.texts, sent.body};
  std::string query = question == std::string::npos ? "" : sent.target.substr(question + 1);
  while (!query.empty()) {
    const std::string item = query.substr(0, query.find('&'));
    query.erase(0, item.size() + 1);
    const std::size_t equals = item.find('=');
    parts.texts.emplace(percent_decode(item.substr(0, equals)), percent_decode(item.substr(equals + 1)));
  }
  return parse_request<Request>(parts);
}

template <typename Request>
void check_request_round_trip(Request request) {
  const HttpRequest sent = http_request(request);
  const Result<Request> received = receive<Request>(sent);
  ASSERT_TRUE(received.ok()) << sent.target << " " << sent.body << ": " << received.error().message;
  const HttpRequest again = http_request(received.value());
  EXPECT_EQ(sent.target, again.target);
  EXPECT_EQ(sent.body, again.body);
}

template <typename Reply>
void check_answer_round_trip() {
  const std::string sent = answer_json(sample<Reply>());
  EXPECT_EQ(sent.substr(0, 12), "{\"version\":1");
  const Result<Reply> received = parse_answer<Reply>(sent);
  ASSERT_TRUE(received.ok()) << sent << ": " << received.error().message;
  EXPECT_EQ(answer_json(received.value()), sent);
  const Result<Reply> empty = parse_answer<Reply>("{\"version\":1,\"of_the_future\":[{}]}");
  ASSERT_TRUE(empty.ok()) << "an answer may lack members and have unknown ones";
  EXPECT_EQ(answer_json(empty.value()), answer_json(Reply{}));
}

TEST(TypesJson, EveryRequestArrivesAsItWasSent) {
#define TM_CHECK(operation, Request, Reply, role, method, path, summary) \
  check_request_round_trip(sample<Request>());
  TM_CONTROL_OPERATIONS(TM_CHECK)
#undef TM_CHECK
}

TEST(TypesJson, EveryAnswerArrivesAsItWasSent) {
#define TM_CHECK(operation, Request, Reply, role, method, path, summary) check_answer_round_trip<Reply>();
  TM_CONTROL_OPERATIONS(TM_CHECK)
#undef TM_CHECK
}

TEST(TypesJson, AbsentOptionalMembersStayAbsent) {
  GroupSetRequest request;
  request.group = "app";
  request.retain = Duration::seconds(60);
  const HttpRequest sent = http_request(request);
  EXPECT_EQ(sent.body, "{\"retain_ns\":60000000000}");
  const Result<GroupSetRequest> received = receive<GroupSetRequest>(sent);
  ASSERT_TRUE(received.ok());
  EXPECT_EQ(received->retain, Duration::seconds(60));
  EXPECT_FALSE(received->journal_size_bytes.has_value());
  EXPECT_FALSE(received->on_full.has_value());
}

TEST(TypesJson, PathAndQueryAreEncoded) {
  DiffRequest request;
  request.group = "app";
  request.volume = "db";
  request.from = "time:2026-05-01T12:00:00.5+02:00";
  const HttpRequest sent = http_request(request);
  EXPECT_TRUE(sent.target.starts_with(
      "/v1/groups/app/volumes/db/diff?from=time%3A2026-05-01T12%3A00%3A00.5%2B02%3A00&to=head"))
      << sent.target;
  const Result<DiffRequest> received = receive<DiffRequest>(sent);
  ASSERT_TRUE(received.ok());
  EXPECT_EQ(received->from, request.from);
}

// Found by a fuzz target: the server said that it had no such path.
TEST(TypesJson, ANameWithASlashIsOnePartOfThePath) {
  MarkDeleteRequest request;
  request.group = "app";
  request.id = "a/b%2Fc%";
  const Result<MarkDeleteRequest> received = receive<MarkDeleteRequest>(http_request(request));
  ASSERT_TRUE(received.ok()) << received.error().message;
  EXPECT_EQ(received->id, request.id);
  EXPECT_EQ(match_route("GET", "/v1/groups/a%2fb").texts.at("group"), "a/b");
  EXPECT_EQ(match_route("GET", "/v1/groups/a%2").texts.at("group"), "a%2");
  EXPECT_EQ(match_route("GET", "/v1/groups/a/b").route, nullptr);
}

TEST(TypesJson, TheLargestNumbersSurvive) {
  DiffRequest request = sample<DiffRequest>();
  request.offset_bytes = ~std::uint64_t{0};
  check_request_round_trip(request);
  DiffReply reply;
  reply.runs.push_back(ByteRun{~std::uint64_t{0} - 1, 1});
  const Result<DiffReply> received = parse_answer<DiffReply>(answer_json(reply));
  ASSERT_TRUE(received.ok());
  EXPECT_EQ(received->runs[0].offset_bytes, ~std::uint64_t{0} - 1);
}

struct BadRequest {
  const char* body;
  const char* message_has;
};

TEST(TypesJson, BadRequestsAreRefusedByName) {
  const std::string long_note = "{\"note\":\"" + std::string(kNoteLengthMax + 1, 'n') + "\"}";
  const std::string deep = "{\"note\":" + std::string(100'000, '[') + "}";
  const std::string huge = "{\"note\":\"" + std::string(kRequestBodyBytesMax, 'n') + "\"}";
  const BadRequest kTable[] = {
      {"{", "not JSON"},
      {"{} x", "not JSON"},
      {"nonsense", "not JSON"},
      {"{\"note\":\"\xff\"}", "not JSON"},
      {"[]", "must be a JSON object"},
      {"7", "must be a JSON object"},
      {"{\"note\":1}", "'note' must be a string"},
      {"{\"note\":null}", "'note' must be a string"},
      {"{\"nOte\":\"x\"}", "unknown key 'nOte'"},
      {"{\"\\u001b[2J\":1}", "unknown key '\\x1b[2J'"},
      {"{\"id\":\"a\",\"id\":\"b\"}", "'id' appears twice"},
      {"{\"group\":\"app\"}", "'group' is given twice"},
      {"{\"id\":\"\"}", "mark id is empty"},
      {"{\"id\":\"../x\"}", "mark id"},
      {"{\"id\":\"head\"}", "head"},
      {"{\"wait\":\"remote\"}", "'wait' must be one of: local, peer"},
      {"{\"wait\":true}", "'wait' must be one of: local, peer"},
      {"{\"host_time\":\"yesterday\"}", "'host_time' must be a time"},
      {"{\"host_time\":{\"time\":\"2026-05-01T12:00:00Z\"}}", "'host_time' must be a time"},
      {"{\"note\":\"two\\nlines\"}", "control character"},
      {long_note.c_str(), "longer than 1024"},
      {deep.c_str(), "nests deeper"},
      {huge.c_str(), "larger than 1 MiB"},
  };
  for (const BadRequest& bad : kTable) {
    const RequestParts parts{{{"group", "app"}}, bad.body};
    const Result<MarkCreateRequest> result = parse_request<MarkCreateRequest>(parts);
    ASSERT_FALSE(result.ok()) << bad.body;
    EXPECT_EQ(result.error().code, ErrorCode::kInvalid);
    EXPECT_NE(result.error().message.find(bad.message_has), std::string::npos)
        << bad.body << ": " << result.error().message;
  }
}

TEST(TypesJson, NumbersAreHeldToTheirRange) {
  const auto resize = [](const std::string& size) {
    return parse_request<VolumeResizeRequest>(
        RequestParts{{{"group", "app"}, {"volume", "db"}}, "{\"size_bytes\":" + size + "}"});
  };
  EXPECT_TRUE(resize("4096").ok());
  for (const char* bad :
       {"0", "4095", "-4096", "1e12", "4096.5", "\"4096\"", "18446744073709551616", "true"}) {
    const Result<VolumeResizeRequest> result = resize(bad);
    ASSERT_FALSE(result.ok()) << bad;
    EXPECT_NE(result.error().message.find("size_bytes"), std::string::npos);
  }
}

TEST(TypesJson, TextsOfAQueryAreConverted) {
  const auto list = [](const std::string& limit) {
    return parse_request<MarkListRequest>(RequestParts{{{"group", "app"}, {"limit", limit}}, ""});
  };
  ASSERT_TRUE(list("17").ok());
  EXPECT_EQ(list("17")->limit, 17u);
  for (const char* bad : {"", "x", "1 ", "-1", "0", "10001", "99999999999999999999"}) {
    EXPECT_FALSE(list(bad).ok()) << bad;
  }
  const Result<GroupDeleteRequest> forced =
      parse_request<GroupDeleteRequest>(RequestParts{{{"group", "app"}, {"force", "true"}}, ""});
  ASSERT_TRUE(forced.ok());
  EXPECT_TRUE(forced->force);
  EXPECT_FALSE(
      parse_request<GroupDeleteRequest>(RequestParts{{{"group", "app"}, {"force", "yes"}}, ""}).ok());
}

TEST(TypesJson, ATextThatIsNotUtf8IsRefusedInAQueryToo) {
  const auto mark = [](const std::string& note) {
    return parse_request<MarkCreateRequest>(
        RequestParts{{{"group", "app"}, {"id", "m"}, {"note", note}}, ""});
  };
  ASSERT_TRUE(mark("Stra\xc3\x9f"
                   "e")
                  .ok());
  for (const char* bad : {"\xff", "cut \xc3", "\xed\xa0\x80", "\xc0\xaf"}) {
    const Result<MarkCreateRequest> refused = mark(bad);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().message, "note is not UTF-8");
  }
}

TEST(TypesJson, AMissingKeyIsNamed) {
  const Result<RestoreRequest> result = parse_request<RestoreRequest>(RequestParts{{{"group", "app"}}, "{}"});
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().message, "'point' is missing");
}

TEST(TypesJson, EachTextOfAListKeepsTheRule) {
  const auto create = [](const std::string& disks) {
    return parse_request<RaidCreateRequest>(
        RequestParts{{}, R"({"name":"fast","level":"1","disks":)" + disks + "}"});
  };
  const Result<RaidCreateRequest> good = create(R"(["/dev/sdb","/dev/sdc"])");
  ASSERT_TRUE(good.ok()) << good.error().message;
  EXPECT_EQ(good->disks, (std::vector<std::string>{"/dev/sdb", "/dev/sdc"}));
  EXPECT_EQ(good->level, RaidLevel::k1);
  EXPECT_EQ(create(R"(["/dev/sdb","/dev/s c"])").error().message,
            "disk '/dev/s c' has a space or an unprintable character");
  EXPECT_EQ(create(R"(["/dev/sdb",""])").error().message, "disk is empty");
  EXPECT_EQ(create(R"("/dev/sdb")").error().message, "'disks' must be a list");
  EXPECT_EQ(create("[1]").error().message, "'disks' must be a string");
}

TEST(TypesJson, AWordOfTheFutureIsOtherWhereThatExists) {
  const Result<BranchInfo> branch = parse_answer<BranchInfo>("{\"origin\":\"teleport\"}");
  ASSERT_TRUE(branch.ok());
  EXPECT_EQ(branch->origin, BranchOrigin::kOther);
  EXPECT_FALSE(parse_answer<PairStatus>("{\"state\":\"NEWS\"}").ok());
}

TEST(TypesJson, ErrorsKeepTheirCode) {
  for (int i = 0; i <= static_cast<int>(ErrorCode::kShutdown); ++i) {
    const auto code = static_cast<ErrorCode>(i);
    const Error error = parse_error(error_json(fail(code, "why \"not\"")));
    EXPECT_EQ(error.code, code);
    EXPECT_EQ(error.message, "why \"not\"");
    EXPECT_GE(http_status(code), 400);
  }
  EXPECT_EQ(parse_error("<html>").code, ErrorCode::kDamaged);
}

TEST(TypesJson, LogIdsAreChecked) {
  ASSERT_TRUE(parse_log_id("16777215.1099511627775").ok());
  for (const char* bad :
       {"", ".", "1", "1.", ".1", "1.1.1", "-1.1", "1.-1", " 1.1", "16777216.1", "1.1099511627776"}) {
    EXPECT_FALSE(parse_log_id(bad).ok()) << bad;
  }
}

TEST(Base64, RoundTripsEveryLengthAndRefusesTheRest) {
  std::string bytes;
  for (int i = 0; i < 300; ++i) {
    EXPECT_EQ(base64_decode(base64_encode(bytes)), bytes);
    bytes.push_back(static_cast<char>(i * 7));
  }
  EXPECT_EQ(base64_encode("foob"), "Zm9vYg==");  // RFC 4648, section 10
  for (const char* bad : {"A", "AA", "AAA", "A===", "AA=A", "Zm9vYh==", "Zm9v\n", "Zm 9", "Zm9=", "===="}) {
    EXPECT_FALSE(base64_decode(bad).has_value()) << bad;
  }
}

}  // namespace
}  // namespace tidemark::control
