#include <gtest/gtest.h>
#include <sys/stat.h>

#include "control/http_server.h"
#include "fake_node.h"
#include "run_program.h"

namespace tidemark::control {
namespace {

// The built program against a fake node.
class CliTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ApiServerOptions options;
    options.addresses = {"unix:" + folder_.path() + "/control.sock"};
    Result<std::unique_ptr<ApiServer>> server = ApiServer::start(node_, executor_.poster(), options);
    ASSERT_TRUE(server.ok()) << server.error().message;
    server_ = std::move(server).value();
  }
  void TearDown() override {
    executor_.run([this] { server_->stop(); });
  }
  // In the data folder of the fake node.
  ProgramResult tidemark(const std::string& arguments) {
    return run_shell(folder_, std::string("env -u TIDEMARK_NODE ") + TIDEMARK_PROGRAM + " " + arguments);
  }

  TestFolder folder_;
  FakeNode node_;
  Executor executor_;
  std::unique_ptr<ApiServer> server_;
};

TEST_F(CliTest, EveryCommandReachesItsOperation) {
  std::string reached;
#define TM_NOTE(operation, Request, Reply, role, method, path, summary) \
  node_.on<Request>([&reached](const Request&) -> Result<Reply> {       \
    reached = #operation;                                               \
    return sample<Reply>();                                             \
  });
  TM_CONTROL_OPERATIONS(TM_NOTE)
#undef TM_NOTE
  const std::pair<const char*, const char*> kCommands[] = {
      {"status", "node_status"},
      {"sessions", "sessions"},
      {"table mark_id --group app --limit 5", "table"},
      {"group create app --retain 24h --journal-size 8G --on-full stop-writes", "group_create"},
      {"group list", "group_list"},
      {"group show app", "group_show"},
      {"group set app --retain 7d", "group_set"},
      {"group open app", "group_open"},
      {"group delete app --force", "group_delete"},
      {"group rehearse app --at before", "rehearsal_begin"},
      {"group rehearse app", "rehearsal_show"},
      {"group rehearse app --end --force", "rehearsal_end"},
      {"volume create app/db --size 10G", "volume_create"},
      {"volume list", "volume_list"},
      {"volume list app", "volume_list"},
      {"volume show app/db", "volume_show"},
      {"volume resize app/db --size 20G", "volume_resize"},
      {"volume delete app/db", "volume_delete"},
      {"pair create app --peer tcp:127.0.0.1:7083", "pair_create"},
      {"pair status app", "pair_status"},
      {"pair set app --mode sync --on-peer-loss wait --peer-loss-after 5s", "pair_set"},
      {"pair set app --copy-rate 10M", "pair_set"},
      {"pair suspend app", "pair_suspend"},
      {"pair resync app --give-up-window", "pair_resync"},
      {"pair delete app", "pair_delete"},
      {"pair verify app --stop", "pair_verify_stop"},
      {"journal status app", "journal_status"},
      {"journal show app --from log:1.1 --limit 3", "journal_show"},
      {"mark create app", "mark_create"},
      {"mark create app before --note 'a note' --wait peer", "mark_create"},
      {"mark list app --after x --limit 2", "mark_list"},
      {"mark show app before", "mark_show"},
      {"mark show app 'before~node2'", "mark_show"},
      {"mark name app good --at time:2026-05-01T12:00:00Z", "mark_name"},
      {"mark hold app before", "mark_hold"},
      {"mark release app before", "mark_release"},
      {"mark delete app before", "mark_delete"},
      {"restore app --to before --before --dry-run", "restore"},
      {"diff app/db --from before --offset 1M", "diff"},
      {"branch list app", "branch_list"},
      {"branch show app 3", "branch_show"},
      {"branch release app 3", "branch_release"},
  };
  for (const auto& [command, operation] : kCommands) {
    for (const char* output : {"", " -o json"}) {
      reached.clear();
      const ProgramResult result = tidemark(command + std::string(output));
      EXPECT_EQ(result.exit_code, 0) << command << ": " << result.err;
      EXPECT_EQ(reached, operation) << command;
      EXPECT_FALSE(result.out.empty()) << command;
      EXPECT_EQ(result.out.starts_with("{\n  \"version\": 1"), *output != '\0') << command << "\n"
                                                                                << result.out;
    }
  }
}

TEST_F(CliTest, MistakesOfUsageAreNamedAndExitWithTwo) {
  const std::pair<const char*, const char*> kTable[] = {
      {"", "subcommand is required"},
      {"frobnicate", "there is no 'frobnicate' here"},
      {"status --frob", "there is no '--frob' here"},
      {"group create", "GROUP is required"},
      {"group create 'a b'", "group name 'a b' is not allowed"},
      {"group create app --retain soon", "'soon' is not a duration"},
      {"group create app --journal-size big", "'big' is not a size"},
      {"group create app --on-full explode", "must be one of drop-history|stop-writes"},
      {"group set app", "nothing to change; give --retain or --on-full"},
      {"group set app --journal-size 1G", "there is no '--journal-size' here"},
      {"group create app --journal-size 4K", "--journal-size: must be from 1 MiB to 1 EiB, not 4 KiB"},
      {"volume create app/db --size 0", "--size: must be from 4 KiB to 1 EiB, not 0 B"},
      {"volume resize app/db --size 1", "--size: must be from 4 KiB to 1 EiB, not 1 B"},
      {"group create -- 'a b'", "group name 'a b' is not allowed"},
      {"group show -- app more", "there is no 'more' here"},
      {"-- group show app", "'--' stands behind the command"},
      {"volume create app --size 1G", "write GROUP/VOLUME"},
      {"volume create app/db@head --size 1G", "a point is not allowed here"},
      {"volume create app/db", "how large?"},
      {"volume create app/db --from /no/such/image", "/no/such/image"},
      {"pair create app --peer nowhere", "unix:PATH or tcp:HOST:PORT"},
      {"mark create app head", "mark id 'head' is taken"},
      {"mark list app --limit 0", "--limit"},
      {"journal show app --data before", "--id"},
      {"journal show app --data before --id x", "'x' is not a log id"},
      {"restore app", "--to is required"},
      {"branch show app zero", "EPOCH"},
      {"uri app/db --rw", "--rw needs a point"},
      {"-o xml status", "--output"},
      {"--timeout 11m status", "--timeout"},
      {"--node /no/such/folder status", "'/no/such/folder' is neither an address"},
  };
  for (const auto& [arguments, message] : kTable) {
    const ProgramResult result = tidemark(arguments);
    EXPECT_EQ(result.exit_code, 2) << arguments << ": " << result.err;
    EXPECT_EQ(result.out, "") << arguments;
    EXPECT_TRUE(result.err.starts_with("tidemark: ")) << arguments << ": " << result.err;
    EXPECT_NE(result.err.find(message), std::string::npos) << arguments << ": " << result.err;
  }
}

TEST_F(CliTest, AWordInBracketsIsOneWordWhereverItStands) {
  const std::pair<const char*, const char*> kTable[] = {
      {"watch '[a,b]' --group app --anywhere", "'[a,b]': No such file"},
      {"watch --group app --anywhere --dry-run '[a,b]'", "'[a,b]': No such file"},
      {"watch --group app --anywhere -- '[a,b]'", "'[a,b]': No such file"},
      {"watch --group app --anywhere --match '[ab]' '[c,d]'", "'[c,d]': No such file"},
      {"group create '[a,b]'", "group name '[a,b]' is not allowed"},
      {"group create app --retain '[a,b]'", "'[a,b]' is not a duration"},
      {"group create app --retain='[a,b]'", "'[a,b]' is not a duration"},
      {"volume create app/db --from '[a,b]'", "Path does not exist: [a,b]"},
      {"pair create app --peer '[a,b]'", "unix:PATH or tcp:HOST:PORT"},
      {"group show app '[a,b]'", "there is no '[a,b]' here"},
      {"'[a,b]'", "there is no '[a,b]' here"},
  };
  for (const auto& [arguments, message] : kTable) {
    const ProgramResult result = tidemark(arguments);
    EXPECT_NE(result.exit_code, 0) << arguments;
    EXPECT_NE(result.err.find(message), std::string::npos) << arguments << ": " << result.err;
  }
}

TEST_F(CliTest, ARefusalExitsWithOneAndSaysWhy) {
  node_.refuse<RestoreRequest>(ErrorCode::kExpired,
                               "the mark 'old' has expired\x1b[2J; the oldest point is 1.5");
  const ProgramResult table = tidemark("restore app --to old");
  EXPECT_EQ(table.exit_code, 1);
  EXPECT_EQ(table.out, "");
  EXPECT_EQ(table.err, "tidemark: the mark 'old' has expired\\x1b[2J; the oldest point is 1.5\n");
  const ProgramResult json = tidemark("-o json restore app --to old");
  EXPECT_EQ(json.exit_code, 1);
  EXPECT_NE(json.out.find("\"code\": \"expired\""), std::string::npos) << json.out;
}

TEST_F(CliTest, WaitingTooLongExitsWithThree) {
  executor_.run([this] { node_.gate.close(); });
  const ProgramResult result = tidemark("--timeout 1s mark create app --wait peer");
  EXPECT_EQ(result.exit_code, 3) << result.err;
  // The id was drawn here; whoever waits must learn it.
  EXPECT_TRUE(result.err.starts_with("tidemark: mark 'm-2")) << result.err;
  EXPECT_NE(result.err.find("; look with `tidemark mark show app m-2"), std::string::npos) << result.err;
  executor_.run([this] { node_.gate.open(); });
}

TEST_F(CliTest, AMarkThatThePeerDoesNotReceiveInTimeIsSaidToBeDurableHere) {
  node_.refuse<MarkCreateRequest>(ErrorCode::kTimeout, "not finished within the time limit; it goes on");
  const LogId at(Epoch{1}, 7);
  node_.on<MarkShowRequest>([=](const MarkShowRequest& request) -> Result<MarkInfo> {
    MarkInfo mark;
    mark.id = request.id;
    mark.log_id = at;
    return mark;
  });
  LogId durable(Epoch{1}, 6);
  node_.on<JournalStatusRequest>([&durable](const JournalStatusRequest&) -> Result<JournalStatus> {
    JournalStatus status;
    status.durable = PointInfo{durable, {}};
    return status;
  });
  ProgramResult result = tidemark("--timeout 3s mark create app m --wait peer");
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(result.err,
            "tidemark: mark 'm' was not made within 3s; it may be made yet; look with `tidemark mark show "
            "app m`, or ask again: `tidemark mark create app m --wait peer` makes it once\n");
  durable = at;
  result = tidemark("--timeout 3s mark create app m --wait peer");
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(result.err,
            "tidemark: mark 'm' is durable here at log:1.7, but the peer has not received it within 3s; it "
            "goes over "
            "when the link is there; look with `tidemark mark show app m`\n");
}

TEST_F(CliTest, PairStatusSaysWhatIsKnownAndHowToMakeAPair) {
  PairStatus status;
  status.group = "app";
  node_.on<PairStatusRequest>([&status](const PairStatusRequest&) -> Result<PairStatus> { return status; });
  EXPECT_EQ(tidemark("pair status app").out,
            "group app has no pair; make one with: tidemark pair create app --peer ADDRESS\n");
  status.role = GroupRole::kPrimary;
  status.state = PairState::kPsue;
  status.lag_entries = 5;
  std::string out = tidemark("pair status app").out;
  EXPECT_NE(out.find("received:      -\n"), std::string::npos) << out;
  EXPECT_NE(out.find("behind:        5 entries"), std::string::npos) << out;
  EXPECT_NE(out.find("compress:      off\n"), std::string::npos) << out;
  EXPECT_NE(out.find("traffic:       sent 0 B; received 0 B\n"), std::string::npos) << out;
  status.compress = PairCompression::kZstd;
  status.link_sent_bytes = 24 << 20;
  status.link_sent_uncompressed_bytes = 100 << 20;
  status.link_received_bytes = status.link_received_uncompressed_bytes = 2048;
  status.role = GroupRole::kSecondary;
  status.received = LogId(Epoch{1}, 9);
  out = tidemark("pair status app").out;
  EXPECT_NE(out.find("received:      1.9\n"), std::string::npos) << out;
  EXPECT_NE(out.find("sent 24 MiB, 24 % of 100 MiB uncompressed; received 2 KiB\n"), std::string::npos)
      << out;
  EXPECT_NE(out.find("compress:      zstd\n"), std::string::npos) << out;
  EXPECT_EQ(out.find("behind"), std::string::npos) << "the secondary does not know it\n" << out;
}

TEST_F(CliTest, TwoDashesEndTheOptions) {
  EXPECT_EQ(tidemark("-o json group show -- app").exit_code, 0);
  EXPECT_EQ(tidemark("mark create --note x -- app before").exit_code, 0);
}

TEST_F(CliTest, TheHelpOfEveryCommandHasAnExample) {
  for (const char* family : {"", "group", "volume", "pair", "journal", "mark", "branch", "group create"}) {
    const ProgramResult help = tidemark(std::string(family) + " --help");
    EXPECT_NE(help.out.find("Example:\n  tidemark "), std::string::npos) << family << "\n" << help.out;
  }
}

TEST_F(CliTest, TheNodeIsFoundByFolderAddressAndVariable) {
  const std::string& folder = folder_.path();
  for (const std::string& node : {folder, folder + "/control.sock", "unix:" + folder + "/control.sock"}) {
    EXPECT_EQ(tidemark("--node " + node + " status").exit_code, 0) << node;
  }
  const std::string elsewhere = std::string("cd / && ") + TIDEMARK_PROGRAM;
  EXPECT_EQ(run_shell(folder_, "export TIDEMARK_NODE=" + folder + "; " + elsewhere + " status").exit_code, 0);
  const ProgramResult lost = run_shell(folder_, "unset TIDEMARK_NODE; " + elsewhere + " status");
  EXPECT_EQ(lost.exit_code, 2);
  EXPECT_NE(lost.err.find("which node?"), std::string::npos) << lost.err;
  const ProgramResult dead = tidemark("--node unix:/nowhere status");
  EXPECT_EQ(dead.exit_code, 1);
  EXPECT_EQ(dead.err, "tidemark: no node answers at unix:/nowhere; is tidemarkd running?\n");
}

TEST_F(CliTest, AGeneratedMarkIdIsReadableAndSaysWhoAndWhen) {
  MarkCreateRequest seen;
  node_.on<MarkCreateRequest>([&](const MarkCreateRequest& request) -> Result<MarkInfo> {
    seen = request;
    MarkInfo mark;
    mark.id = *request.id;
    return mark;
  });
  const ProgramResult result = tidemark("mark create app");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  ASSERT_TRUE(seen.id.has_value());
  EXPECT_EQ(seen.id->size(), std::string("m-20260501-120000-abcdefg1").size()) << *seen.id;
  EXPECT_TRUE(validate_name("mark id", *seen.id, kMarkIdLengthMax).ok());
  EXPECT_TRUE(result.out.starts_with(*seen.id)) << result.out;
  EXPECT_FALSE(seen.host.empty());
  ASSERT_TRUE(seen.host_time.has_value());
  EXPECT_GT(seen.host_time->ns, 1'700'000'000'000'000'000);
}

TEST_F(CliTest, StatusPutsProblemsFirst) {
  NodeStatus status;
  status.node = "one";
  status.now = parse_time("2026-05-01T12:00:00Z").value();
  status.problems = {{"app", "the link to the peer is down", parse_time("2026-05-01T11:57:00Z").value(),
                      "tidemark pair status app"}};
  status.groups.emplace_back().group = "app";
  node_.on<NodeStatusRequest>([=](const NodeStatusRequest&) { return status; });
  const ProgramResult result = tidemark("status");
  EXPECT_NE(result.out.find("\n! app: the link to the peer is down (since 2026-05-01T11:57:00Z, 3 minutes)\n"
                            "  type: tidemark pair status app\n"),
            std::string::npos)
      << result.out;
}

TEST_F(CliTest, ARestoreSaysHowToUndoIt) {
  RestoreReply reply;
  reply.from.log_id = LogId(Epoch{1}, 42);
  reply.new_epoch = 3;
  reply.exports_closed = true;
  node_.on<RestoreRequest>([=](const RestoreRequest&) { return reply; });
  const ProgramResult result = tidemark("restore app --to before --force");
  EXPECT_NE(result.err.find("to undo it: tidemark restore app --to log:1.42\n"), std::string::npos)
      << result.err;
  EXPECT_NE(result.err.find("tidemark group open app"), std::string::npos) << result.err;
}

TEST_F(CliTest, JournalDataIsWrittenAsItIsPageByPage) {
  const std::string bytes = std::string("\0\x01 before ", 10) + std::string(100, 'x');
  node_.on<JournalDataRequest>([=](const JournalDataRequest& request) -> Result<JournalDataReply> {
    EXPECT_EQ(request.log_id, LogId(Epoch{1}, 7));
    EXPECT_EQ(request.side, DataSide::kBefore);
    JournalDataReply reply;
    reply.offset_bytes = request.offset_bytes;
    reply.data.bytes = bytes.substr(request.offset_bytes, 50);
    if (request.offset_bytes + 50 < bytes.size()) reply.next = request.offset_bytes + 50;
    return reply;
  });
  const ProgramResult result = tidemark("journal show app --id log:1.7 --data before");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, bytes);
}

TEST_F(CliTest, UrisNameTheExportOnEveryAddress) {
  NodeStatus status;
  status.nbd_addresses = {"unix:/run/a b.sock", "tcp:[::1]:10809"};
  node_.on<NodeStatusRequest>([=](const NodeStatusRequest&) { return status; });
  EXPECT_EQ(tidemark("uri app/db@before --rw").out,
            "nbd+unix:///app/db@before%2Brw?socket=/run/a%20b.sock\n"
            "nbd://[::1]:10809/app/db@before%2Brw\n");
}

TEST_F(CliTest, UrisSayWhereTlsIsRequired) {
  NodeStatus status;
  status.nbd_addresses = {"tcp:tokyo:10809", "unix:/run/nbd.sock"};
  status.nbd_tls = NbdTls::kRequired;
  node_.on<NodeStatusRequest>([=](const NodeStatusRequest&) { return status; });
  EXPECT_EQ(tidemark("uri app/db").out,
            "nbds://tokyo:10809/app/db\n"
            "nbd+unix:///app/db?socket=/run/nbd.sock\n");
}

// A volume served by nbdkit stands in for the node's exports.
class CliImageTest : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    if (std::system("command -v nbdkit nbdcopy qemu-img >/dev/null") != 0) {
      GTEST_SKIP() << "needs nbdkit, nbdcopy and qemu-img";
    }
    const ProgramResult started =
        run_shell(folder_,
                  "nbdkit -U $PWD/nbd.sock -P nbdkit.pid memory 8M && dd if=/dev/zero bs=1M count=1 of=zero "
                  "2>/dev/null && { printf tidemark; cat zero zero; } | dd bs=1M count=2 iflag=fullblock "
                  "of=image.raw 2>/dev/null");
    ASSERT_EQ(started.exit_code, 0) << started.err;
    NodeStatus status;
    status.nbd_addresses = {"unix:" + folder_.path() + "/nbd.sock"};
    node_.on<NodeStatusRequest>([=](const NodeStatusRequest&) { return status; });
    node_.on<VolumeCreateRequest>([this](const VolumeCreateRequest& request) -> Result<VolumeInfo> {
      created_size_bytes_ = request.size_bytes;
      return VolumeInfo{};
    });
    node_.on<VolumeDeleteRequest>([this](const VolumeDeleteRequest&) -> Result<Done> {
      deleted_ = true;
      return Done{};
    });
  }
  void TearDown() override {
    const std::string pid = read_file(folder_.path() + "/nbdkit.pid");
    if (!pid.empty()) {
      EXPECT_EQ(std::system(("kill " + pid).c_str()), 0);
    }
    CliTest::TearDown();
  }
  void tell_of_an_address_where_nobody_listens() {
    NodeStatus status;
    status.nbd_addresses = {"unix:" + folder_.path() + "/nobody.sock"};
    ASSERT_EQ(run_shell(folder_, "touch nobody.sock").exit_code, 0);
    node_.on<NodeStatusRequest>([=](const NodeStatusRequest&) { return status; });
  }
  std::uint64_t created_size_bytes_ = 0;
  bool deleted_ = false;
};

TEST_F(CliImageTest, AnImageGoesInAndComesOutAgain) {
  ASSERT_EQ(run_shell(folder_, "qemu-img convert -O qcow2 image.raw image.qcow2").exit_code, 0);
  const ProgramResult in = tidemark("volume create app/db --from image.qcow2");
  ASSERT_EQ(in.exit_code, 0) << in.err;
  EXPECT_EQ(created_size_bytes_, 2u << 20);
  const ProgramResult out = tidemark("export app/db@before out.raw");
  ASSERT_EQ(out.exit_code, 0) << out.err;
  EXPECT_EQ(out.out, "");
  const std::string image = read_file(folder_.path() + "/out.raw");
  EXPECT_EQ(image.size(), 8u << 20) << "nbdkit's volume is larger than the image";
  EXPECT_EQ(image.substr(0, 2 << 20), read_file(folder_.path() + "/image.raw"));
  struct stat info {};
  ASSERT_EQ(::stat((folder_.path() + "/out.raw").c_str(), &info), 0);
  EXPECT_LT(info.st_blocks * 512, 1 << 20) << "a raw image is sparse";
  EXPECT_EQ(tidemark("export app/db out.qcow2 --format qcow2").exit_code, 0);
  EXPECT_EQ(run_shell(folder_, "qemu-img compare out.raw out.qcow2").exit_code, 0);
}

TEST_F(CliImageTest, AFileInTheWayIsKeptUnlessForced) {
  ASSERT_EQ(run_shell(folder_, "echo precious > out.raw").exit_code, 0);
  const ProgramResult refused = tidemark("export app/db out.raw");
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("use --force"), std::string::npos) << refused.err;
  EXPECT_EQ(read_file(folder_.path() + "/out.raw"), "precious\n");
  EXPECT_EQ(tidemark("export app/db out.raw --force").exit_code, 0);
  EXPECT_EQ(read_file(folder_.path() + "/out.raw").size(), 8u << 20);
}

TEST_F(CliImageTest, AFailedExportLeavesNothingBehind) {
  tell_of_an_address_where_nobody_listens();
  const ProgramResult result = tidemark("export app/db out.raw");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.err.find("nbdcopy failed"), std::string::npos) << result.err;
  EXPECT_EQ(run_shell(folder_, "ls out.raw*").out, "");
}

TEST_F(CliImageTest, AFailedImportTakesTheVolumeAway) {
  tell_of_an_address_where_nobody_listens();
  const ProgramResult result = tidemark("volume create app/db --from image.raw");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_TRUE(deleted_);
  EXPECT_NE(result.err.find("was removed again"), std::string::npos) << result.err;
}

TEST_F(CliImageTest, ATooSmallVolumeIsRefusedBeforeItIsMade) {
  const ProgramResult result = tidemark("volume create app/db --from image.raw --size 1M");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.err.find("the image needs 2 MiB"), std::string::npos) << result.err;
  EXPECT_EQ(created_size_bytes_, 0u);
}

}  // namespace
}  // namespace tidemark::control
