// tidemarkd: one Tidemark node on the real machine. Wiring only; what a node is and does is in src/node.

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>

#include "base/log_field.h"
#include "base/out_of_memory.h"
#include "command_admission.h"
#include "control/http_server.h"
#include "node/node.h"
#include "options.h"
#include "os/audit_log.h"
#include "os/data_folder.h"
#include "os/descriptor.h"
#include "os/environment.h"
#include "os/machine_load.h"
#include "os/network.h"
#include "os/offload.h"
#include "os/process.h"
#include "os/reactor.h"
#include "os/signals.h"
#include "os/small_file.h"
#include "os/space_reserve.h"
#include "os/tls.h"
#include "os/tls_network.h"
#include "storage.h"

namespace tidemark {
namespace {

void log_line(const std::string& event, const std::string& text) {
  const os::SystemClock clock;
  std::fprintf(stderr, "%s %s%s%s\n", format_time(clock.now()).c_str(), event.c_str(),
               text.empty() ? "" : " ", text.c_str());
}

constexpr const char* kIdentityName = "identity";

// Where the node may use all cores of the machine; elsewhere it could not tell that others want them.
constexpr std::int64_t kSpinDefaultUs = 100;

// The node's identity lies beside its disk: a folder is one node, for ever.
Result<NodeIdentity> read_or_make_identity(const os::DataFolder& folder, io::Random& random, bool had_disk) {
  const std::string path = folder.file(kIdentityName);
  std::ifstream in(path);
  const int error = in ? 0 : errno;
  if (in) {
    std::string text;
    in >> text;
    NodeIdentity identity;
    bool good = text.size() == 32;
    for (std::size_t i = 0; good && i < 32; ++i) {
      const char c = text[i];
      const int digit = c >= '0' && c <= '9' ? c - '0' : (c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1);
      good = digit >= 0;
      if (good) identity.bytes[i / 2] = static_cast<std::uint8_t>(identity.bytes[i / 2] << 4 | digit);
    }
    if (!good || identity.is_zero()) {
      return fail(ErrorCode::kDamaged, path + " does not hold the node's identity (32 hexadecimal digits)");
    }
    return identity;
  }
  if (error != ENOENT) {
    return fail(ErrorCode::kIo, "cannot read the node's identity, " + path + ": " + os::errno_text(error));
  }
  if (had_disk || std::filesystem::exists(folder.file("disk"))) {
    return fail(ErrorCode::kDamaged,
                path + " is missing, but there is a disk; --recover takes it from there");
  }
  const auto identity = random.identity<NodeIdentity>();
  const std::string text = identity.to_string() + "\n";
  TM_TRY(os::replace_file(path, text));
  return identity;
}

// What a folder has that is not on the disks is the identity alone: the disks know it too. All else is
// derived.
io::Task<Result<void>> recover_folder(Storage::Machine disks) {
  TM_CO_TRY_ASSIGN(const NodeIdentity owner, co_await Storage::find_owner(disks));
  const std::string text = owner.to_string() + "\n";
  TM_CO_TRY(os::replace_file(disks.folder.file(kIdentityName), text));
  disks.log("recovered", log_field("identity", owner.to_string()));
  co_return Result<void>{};
}

// For a first start that failed: the disks may be of a node whose folder was lost.
io::Task<std::string> hint_about_owner(Storage::Machine disks, NodeIdentity identity) {
  const auto owner = co_await Storage::find_owner(disks);
  if (!owner.ok() || *owner == identity) co_return std::string();
  co_return "; if the data folder of that node was lost, --recover makes this one its folder";
}

Result<std::unique_ptr<catalog::Catalog>> open_catalog(const std::string& path) {
  auto opened = catalog::Catalog::open(path);
  if (!opened.ok() && opened.error().code == ErrorCode::kDamaged) {
    log_line("catalogue-anew", log_field("reason", opened.error().message));
    return catalog::Catalog::recreate(path);
  }
  return opened;
}

// The disk is a thin file: its file system can be full when the disk is not.
std::string space_alarm(const std::string& folder) {
  constexpr std::uint64_t kFreeBytesMin = 256ull << 20;
  const std::optional<std::uint64_t> free_bytes = os::free_bytes_at(folder);
  if (!free_bytes.has_value() || *free_bytes >= kFreeBytesMin) return {};
  return "the file system of " + folder + " has " + format_size(*free_bytes) +
         " free; when it is full, writes fail with ENOSPC until there is space again";
}

// Opening an index takes some space. On a full file system the reserve is what it takes, and nothing that
// takes more comes in between.
io::Task<Result<index::OpenedIndex>> open_index(io::Environment environment, std::string folder,
                                                index::RocksIndexOptions options, os::SpaceReserve* reserve) {
  reserve->release();
  auto opened = co_await index::open_rocks_index(environment, std::move(folder), options);
  (void)reserve->renew();
  co_return opened;
}

struct Machine {
  os::Reactor& reactor;
  os::Network& sockets;  // as they are
  io::Environment environment;
  const DaemonOptions& options;
  const os::DataFolder& folder;
  io::Event& stop_wanted;
  nbd::TlsMode nbd_tls{};
};

io::Task<Result<std::vector<std::unique_ptr<io::Listener>>>> listen_all(io::Network& network,
                                                                        std::vector<std::string> addresses,
                                                                        const char* what) {
  std::vector<std::unique_ptr<io::Listener>> listeners;
  for (const std::string& text : addresses) {
    TM_CO_TRY_ASSIGN(const io::Address address, io::Address::parse(text));
    auto listener = co_await network.listen(address);
    if (!listener.ok()) {
      co_return fail(listener.error().code,
                     std::string(what) + " at " + text + ": " + listener.error().message);
    }
    listeners.push_back(std::move(listener).value());
  }
  co_return listeners;
}

std::vector<std::string> addresses_of(const std::vector<std::unique_ptr<io::Listener>>& listeners) {
  std::vector<std::string> out;
  out.reserve(listeners.size());
  for (const auto& listener : listeners) out.push_back(listener->address().to_string());
  return out;
}

io::Task<Result<void>> serve(Machine* machine) {
  const DaemonOptions& options = machine->options;
  const os::DataFolder& folder = machine->folder;
  // The network first: an address that is taken is told before anything is made or recovered.
  io::Network& sockets = machine->sockets;
  io::Network& replication_network = machine->environment.network;
  const std::vector<std::string> nbd_addresses = options.nbd;
  const std::vector<std::string> replication_addresses = options.replication;
  auto nbd = co_await listen_all(sockets, nbd_addresses, "NBD");
  if (!nbd.ok()) co_return std::move(nbd).error();
  auto replication =
      co_await listen_all(replication_network, replication_addresses, "the replication service");
  if (!replication.ok()) co_return std::move(replication).error();

  // The index is made after the first disk was formatted; from then on a disk that is missing or empty is a
  // loss to be told, not a new one to be made.
  const std::string index_folder = folder.file("index");
  bool had_disk =
      std::filesystem::exists(index_folder) || KnownPools(folder, machine->environment.offload).exist();
  const Storage::Machine disks{machine->reactor, machine->environment, options, folder, log_line};
  if (options.recover && had_disk && std::filesystem::exists(folder.file(kIdentityName))) {
    log_line("recover-not-needed", log_field("folder", folder.path()));
  } else if (options.recover) {
    TM_CO_TRY(co_await recover_folder(disks));
    had_disk = true;
  }
  TM_CO_TRY_ASSIGN(const NodeIdentity identity,
                   read_or_make_identity(folder, machine->environment.random, had_disk));
  auto opened = co_await Storage::open(disks, identity, !had_disk);
  if (!opened.ok()) {
    std::string hint;
    if (!had_disk) hint = co_await hint_about_owner(disks, identity);
    co_return fail(opened.error().code, opened.error().message + hint);
  }
  std::unique_ptr<Storage> storage = std::move(opened).value();

  const std::uint64_t cache = options.cache_size_bytes;
  const index::RocksIndexOptions index_options{
      .memory_bytes_max = std::clamp<std::uint64_t>(cache / 8, 2 << 20, 64 << 20),
      .block_cache_bytes = std::clamp<std::uint64_t>(cache / 16, 1 << 20, 32 << 20),
      .path_map_bytes_max = std::clamp<std::uint64_t>(cache / 16, 1 << 20, 32 << 20)};
  const io::Environment environment = machine->environment;
  os::SpaceReserve reserve(folder.file("reserve"));
  (void)reserve.renew();
  const group::IndexFactory make_index = [environment, index_folder, index_options,
                                          &reserve](GroupIdentity group) {
    return open_index(environment, index_folder + "/" + group.to_string(), index_options, &reserve);
  };
  const std::string catalogue = folder.file("catalogue.sqlite");
  node::NodeConfiguration configuration;
  configuration.identity = identity;
  configuration.name = options.name;
  configuration.version = kVersion;
  configuration.cache_size_bytes = cache;
  configuration.may_format_disk = !had_disk;
  configuration.pool_alarm_percent = options.pool_alarm_percent;
  configuration.disks = storage->disks_of_node();
  configuration.nbd_tls = machine->nbd_tls;
  configuration.machine_alarm = [path = folder.path()] { return space_alarm(path); };
  os::AuditLog audit_log(folder.file("audit.log"));
  // What was done is done: that it could not be noted is told beside it.
  const control::Audit audit = [&audit_log](const std::string& line) {
    const Result<void> added = audit_log.append(line);
    if (!added.ok()) log_line("audit-failed", log_field("reason", added.error().message) + " " + line);
  };
  TM_CO_TRY_ASSIGN(configuration.command_rules, command_rules(options, audit, log_line));
  node::OpenCatalog make_catalogue = [catalogue] { return open_catalog(catalogue); };
  node::Log log = log_line;
  auto started = co_await node::Node::start(environment, std::move(configuration), make_index,
                                            std::move(make_catalogue), std::move(log));
  if (!started.ok()) {
    if (started.error().code == ErrorCode::kInvalid) co_return std::move(started).error();
    const std::string name = storage->name();
    storage = nullptr;
    std::string hint;
    if (!had_disk) hint = co_await hint_about_owner(disks, identity);
    co_return fail(started.error().code, name + ": " + started.error().message + hint);
  }
  const std::unique_ptr<node::Node> node = std::move(started).value();
  // On a full file system the node serves all the same; the next start finds its disks by their labels.
  if (const auto settled = co_await storage->settle(); !settled.ok()) {
    log_line("disk-list", log_field("reason", settled.error().message));
  }
  std::error_code made;
  std::filesystem::create_directories(index_folder, made);

  os::Reactor& reactor = machine->reactor;
  control::ApiServerOptions api_options;
  api_options.addresses = options.control;
  api_options.token_file = options.control_tokens;
  api_options.certificate.certificate = options.tls_certificate;
  api_options.certificate.key = options.tls_key;
  api_options.certificate.user = "control";
  api_options.log = log_line;
  api_options.audit = audit;
  control::PostToReactor post = [&reactor](std::function<void()> work) {
    reactor.post_from_thread(std::move(work));
  };
  auto api = control::ApiServer::start(*node, std::move(post), api_options);
  if (!api.ok()) co_return std::move(api).error();

  node->set_addresses(addresses_of(*nbd), (*api)->addresses(), addresses_of(*replication));
  io::TaskScope services(machine->environment.scheduler);
  for (auto& listener : *nbd) services.spawn(node->nbd_server().serve(std::move(listener)));
  std::vector<io::Listener*> replication_listeners;
  for (auto& listener : *replication) {
    replication_listeners.push_back(listener.get());
    services.spawn(node->pairs().serve(std::move(listener)));
  }
  std::printf("ready %s\n", options.name.c_str());
  std::fflush(stdout);
  (void)os::notify_service_manager("READY=1");
  log_line("ready", log_field("node", options.name) + " " + log_field("identity", identity.to_string()));

  co_await machine->stop_wanted.wait();
  log_line("stopping", "");
  (void)os::notify_service_manager("STOPPING=1");
  (*api)->stop();
  for (io::Listener* listener : replication_listeners) listener->close();
  auto stopped = co_await node->stop();
  co_await services.join();
  const auto closed = co_await storage->close();
  if (stopped.ok()) stopped = closed;
  log_line("stopped", stopped.ok() ? "outcome=in-order"
                                   : "outcome=failed " + log_field("reason", stopped.error().message));
  co_return stopped;
}

struct TlsOfServices {
  std::unique_ptr<os::Tls> replication;  // null: none
  std::unique_ptr<os::Tls> nbd;          // null: that of the replication
};

Result<TlsOfServices> make_tls(os::Reactor& reactor, const DaemonOptions& options) {
  TlsOfServices made;
  if (!options.has_tls()) return made;
  os::TlsFiles files{options.tls_certificate, options.tls_key, options.tls_authorities};
  TM_TRY_ASSIGN(made.replication, os::Tls::create(reactor, files, log_line));
  if (options.nbd_tls == "off" || options.nbd_tls_authorities.empty()) return made;
  files.authorities = options.nbd_tls_authorities;
  files.authorities_option = "--nbd-tls-ca";
  files.user = "nbd";
  TM_TRY_ASSIGN(made.nbd, os::Tls::create(reactor, std::move(files), log_line));
  return made;
}

int run(int argc, char** argv) {
  auto parsed = parse_command_line(argc, argv);
  if (!parsed.ok()) {
    std::fprintf(stderr, "tidemarkd: %s\n", parsed.error().message.c_str());
    return 2;
  }
  if (parsed->done) {
    std::fputs(parsed->text.c_str(), stdout);
    return 0;
  }
  const DaemonOptions& options = parsed->options;
  os::ignore_io_signals();
  os::raise_open_files_limit();
  const auto refuse = [](const Error& error) {
    std::fprintf(stderr, "tidemarkd: %s\n", error.message.c_str());
    return 1;
  };
  auto folder = os::DataFolder::open(options.data_folder);
  if (!folder.ok()) return refuse(folder.error());
  const std::int64_t spin_default_us = os::is_confined_to_some_cores() ? 0 : kSpinDefaultUs;
  auto reactor = os::Reactor::create(
      {.spin_max = Duration::microseconds(options.spin_max_us.value_or(spin_default_us))});
  if (!reactor.ok()) return refuse(reactor.error());
  io::Event stop_wanted(**reactor);
  auto signals =
      os::SignalWatch::create(**reactor, {SIGTERM, SIGINT}, [&stop_wanted](int) { stop_wanted.set(); });
  if (!signals.ok()) return refuse(signals.error());
  os::ThreadOffload offload(**reactor);
  os::SystemClock clock;
  os::SystemRandom random;
  // A name server that does not answer holds a thread for many seconds: not one that an index or a link
  // needs.
  os::ThreadOffload name_lookups(**reactor);
  os::Network sockets(**reactor, name_lookups);
  auto tls = make_tls(**reactor, options);
  if (!tls.ok()) return refuse(tls.error());
  // What a node connects to are peers.
  os::TlsNetwork network(**reactor, sockets, tls->replication.get(), options.replication_plaintext);
  Machine machine{**reactor, sockets, {**reactor, clock, random, network, offload},
                  options,   *folder, stop_wanted};
  if (options.nbd_tls != "off") {
    machine.nbd_tls.upgrade = tls->nbd != nullptr ? tls->nbd.get() : tls->replication.get();
    machine.nbd_tls.required = options.nbd_tls == "required";
  }
  auto served = (*reactor)->run(serve(&machine));
  if (!served.ok()) return refuse(served.error());
  return 0;
}

}  // namespace
}  // namespace tidemark

int main(int argc, char** argv) {
  tidemark::end_process_when_out_of_memory();
  return tidemark::run(argc, argv);
}
