#include "transfer.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "base/names.h"
#include "control/address.h"

extern char** environ;

namespace tidemark::cli {
namespace {

constexpr std::size_t kChildOutputBytesMax = 1 << 20;

Error system_error(const std::string& what) {
  return fail(ErrorCode::kIo, what + ": " + std::strerror(errno));
}

// In a URI's path; '/' and the characters of points stay readable.
std::string uri_escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
        std::strchr("-._~/@:", c) != nullptr) {
      out.push_back(c);
    } else {
      char escaped[4];
      std::snprintf(escaped, sizeof escaped, "%%%02X", static_cast<unsigned>(static_cast<unsigned char>(c)));
      out += escaped;
    }
  }
  return out;
}

// Keeps an interrupt from ending this program while its child, which gets it too, still cleans up.
class InterruptsLeftToChild {
 public:
  InterruptsLeftToChild() {
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(SIGINT, &ignore, &interrupt_);
    ::sigaction(SIGQUIT, &ignore, &quit_);
  }
  ~InterruptsLeftToChild() {
    ::sigaction(SIGINT, &interrupt_, nullptr);
    ::sigaction(SIGQUIT, &quit_, nullptr);
  }

 private:
  struct sigaction interrupt_ {};
  struct sigaction quit_ {};
};

// Runs a program to its end. What it prints goes to standard error, or into `output`.
Result<void> run_program(std::vector<std::string> words, std::string* output = nullptr) {
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  int pipe_ends[2] = {-1, -1};
  if (output != nullptr && ::pipe2(pipe_ends, O_CLOEXEC) != 0) return system_error("cannot make a pipe");

  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, output != nullptr ? pipe_ends[1] : STDERR_FILENO,
                                     STDOUT_FILENO);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t defaults;
  ::sigemptyset(&defaults);
  ::sigaddset(&defaults, SIGINT);
  ::sigaddset(&defaults, SIGQUIT);
  ::posix_spawnattr_setsigdefault(&attributes, &defaults);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);

  const InterruptsLeftToChild guard;
  pid_t child = 0;
  const int spawned = ::posix_spawnp(&child, arguments[0], &actions, &attributes, arguments.data(), environ);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  if (output != nullptr) {
    ::close(pipe_ends[1]);
    char piece[4096];
    ssize_t count = 0;
    while (spawned == 0 &&
           ((count = ::read(pipe_ends[0], piece, sizeof piece)) > 0 || (count < 0 && errno == EINTR))) {
      if (count > 0 && output->size() < kChildOutputBytesMax)
        output->append(piece, static_cast<std::size_t>(count));
    }
    ::close(pipe_ends[0]);
  }
  if (spawned == ENOENT) {
    return fail(ErrorCode::kUnsupported, "the program " + words[0] +
                                             " is not installed; on Debian: apt install " +
                                             (words[0] == "nbdcopy" ? "libnbd-bin" : "qemu-utils"));
  }
  if (spawned != 0) {
    errno = spawned;
    return system_error("cannot run " + words[0]);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return system_error("cannot wait for " + words[0]);
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return Result<void>{};
  const std::string how = WIFSIGNALED(status)
                              ? "was ended by signal " + std::to_string(WTERMSIG(status))
                              : "failed with exit code " + std::to_string(WEXITSTATUS(status));
  return fail(ErrorCode::kIo, words[0] + " " + how + "; its message is above");
}

bool on_terminal() {
  return ::isatty(STDERR_FILENO) == 1;
}

// The value of `"key": "text"` or `"key": number` in qemu-img's JSON. Keys are looked for in the outermost
// object only, since nested ones describe the file below the format.
std::string top_level_value(const std::string& json, const std::string& key) {
  int depth = 0;
  for (std::size_t at = 0; at < json.size(); ++at) {
    const char c = json[at];
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
    if (c != '"') continue;
    std::size_t end = at + 1;
    while (end < json.size() && json[end] != '"') end += json[end] == '\\' ? 2 : 1;
    if (end >= json.size()) return "";
    const bool is_it = depth == 1 && json.compare(at + 1, end - at - 1, key) == 0;
    at = end;
    if (!is_it) continue;
    std::size_t begin = json.find_first_not_of(": \t\n", end + 1);
    if (begin == std::string::npos) return "";
    const bool quoted = json[begin] == '"';
    if (quoted) ++begin;
    return json.substr(begin, json.find_first_of(quoted ? "\"" : ",}\n ", begin) - begin);
  }
  return "";
}

}  // namespace

std::vector<std::string> nbd_uris(const control::NodeStatus& status, const std::string& export_name) {
  std::vector<std::string> uris;
  for (const std::string& text : status.nbd_addresses) {
    const Result<control::ControlAddress> address = control::parse_control_address(text);
    if (!address.ok()) continue;
    if (address->is_unix) {
      uris.push_back("nbd+unix:///" + uri_escaped(export_name) + "?socket=" + uri_escaped(address->path));
    } else {
      const std::string scheme = status.nbd_tls == control::NbdTls::kRequired ? "nbds" : "nbd";
      uris.push_back(scheme + address->to_string().replace(0, 4, "://") + "/" + uri_escaped(export_name));
    }
  }
  return uris;
}

Result<std::string> nbd_uri(const control::NodeStatus& status, const std::string& export_name) {
  control::NodeStatus reachable;
  reachable.nbd_tls = status.nbd_tls;
  for (const std::string& text : status.nbd_addresses) {
    // A unix socket of a node on another machine is not here.
    if (text.starts_with("unix:") && ::access(text.c_str() + 5, F_OK) != 0) continue;
    reachable.nbd_addresses.push_back(text);
  }
  // This program has no certificate to show.
  if (status.nbd_tls == control::NbdTls::kRequired) {
    std::stable_partition(reachable.nbd_addresses.begin(), reachable.nbd_addresses.end(),
                          [](const std::string& text) { return text.starts_with("unix:"); });
  }
  const std::vector<std::string> uris = nbd_uris(reachable, export_name);
  if (uris.empty()) {
    return fail(ErrorCode::kNotFound,
                "the node has no NBD address that is reachable from here; start it with --nbd");
  }
  return uris.front();
}

Result<void> export_image(const std::string& uri, const std::string& path, const std::string& format,
                          bool overwrite) {
  struct stat info {};
  const bool exists = ::stat(path.c_str(), &info) == 0;
  if (exists && !overwrite) {
    return fail(ErrorCode::kExists, "'" + printable(path) + "' exists; use --force to write over it");
  }
  if (exists && !S_ISREG(info.st_mode) && !S_ISBLK(info.st_mode)) {
    return fail(ErrorCode::kInvalid, "'" + printable(path) + "' is neither a file nor a block device");
  }
  const bool is_device = exists && S_ISBLK(info.st_mode);
  // "./" keeps a name that begins with '-' or looks like "nbd:..." from being taken for something else.
  const std::string whole = path.starts_with("/") ? path : "./" + path;
  const std::string target = is_device ? whole : whole + ".part-" + std::to_string(::getpid());
  Result<void> copied;
  if (format == "raw") {
    std::vector<std::string> words{"nbdcopy", "--flush"};
    if (on_terminal()) words.emplace_back("--progress");
    words.insert(words.end(), {"--", uri, target});
    copied = run_program(std::move(words));
  } else {
    std::vector<std::string> words{"qemu-img", "convert"};
    if (on_terminal()) words.emplace_back("-p");
    words.insert(words.end(), {"-f", "raw", "-O", format, "-t", "writeback", "--", uri, target});
    copied = run_program(std::move(words));
  }
  if (is_device) return copied;
  if (copied.ok() && ::rename(target.c_str(), whole.c_str()) != 0) {
    copied = system_error("cannot name the image '" + printable(path) + "'");
  }
  if (!copied.ok()) ::unlink(target.c_str());
  return copied;
}

Result<ImageInfo> inspect_image(const std::string& path, const std::string& format) {
  std::string output;
  std::vector<std::string> words{"qemu-img", "info", "--output=json"};
  if (!format.empty()) words.insert(words.end(), {"-f", format});
  words.insert(words.end(), {"--", path.starts_with("/") ? path : "./" + path});
  TM_TRY(run_program(std::move(words), &output));
  ImageInfo image{top_level_value(output, "format"), 0};
  const std::string size = top_level_value(output, "virtual-size");
  const auto [end, error] = std::from_chars(size.data(), size.data() + size.size(), image.size_bytes);
  if (image.format.empty() || error != std::errc() || end != size.data() + size.size()) {
    return fail(ErrorCode::kDamaged, "qemu-img does not say what '" + printable(path) + "' is");
  }
  return image;
}

Result<void> import_image(const std::string& path, const std::string& format, const std::string& uri) {
  // -n: the target exists; -t writeback: the default for a target would skip the flush at the end.
  std::vector<std::string> words{"qemu-img", "convert", "-n", "--target-is-zero", "-t", "writeback"};
  if (on_terminal()) words.emplace_back("-p");
  words.insert(words.end(),
               {"-f", format, "-O", "raw", "--", path.starts_with("/") ? path : "./" + path, uri});
  return run_program(std::move(words));
}

}  // namespace tidemark::cli
