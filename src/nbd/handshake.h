#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/stream.h"
#include "io/task.h"
#include "nbd/options.h"
#include "nbd/receive_buffer.h"
#include "nbd/request.h"
#include "nbd/target.h"
#include "nbd/wire.h"

namespace tidemark::nbd {

// What the handshake ends with: an open export and what was agreed about it.
struct Negotiated {
  std::unique_ptr<BlockTarget> target;
  std::string export_name;  // as the client asked for it
  Agreement agreement;
};

// What connections may, or must, do about TLS. With `required` every option but STARTTLS and ABORT is refused
// until they have done it (FORCEDTLS in the specification). The server does not require it on unix sockets,
// which the permissions of their files guard.
struct TlsMode {
  io::StreamUpgrade* upgrade = nullptr;  // null: STARTTLS is not offered
  bool required = false;
};

// The server's side of the fixed newstyle handshake on one connection. The export is opened by EXPORT_NAME
// or GO and by nothing before them.
//
// STARTTLS replaces the stream by one inside of TLS. Nothing that the client said before it counts after it,
// and a client that sent more behind it, in the clear, is disconnected: whoever is on the way could have put
// that there.
//
// Owned by the session, which sets the time limit by destroying the running Task. The slot of the stream,
// which is empty during the handshake of TLS, the buffer and the directory outlive it. What the client sent
// ahead of the last reply stays unread in the buffer.
class Handshake {
 public:
  // Data of an option that is looked at; with room for the longest name and many queries.
  static constexpr std::uint32_t kOptionBytesMax = 64 << 10;
  // Data that is read and thrown away to keep in step with the client; an option that announces more ends
  // the connection.
  static constexpr std::uint32_t kOptionSkipBytesMax = 1 << 20;
  // Option replies are sent in pieces of about this size.
  static constexpr std::size_t kReplyBytes = 64 << 10;

  Handshake(std::unique_ptr<io::Stream>& stream, ReceiveBuffer& input, ExportDirectory& directory,
            std::string client, TlsMode tls)
      : stream_(stream), input_(input), directory_(directory), client_(std::move(client)), tls_(tls) {
    TM_ASSERT(tls.upgrade != nullptr || !tls.required);
  }

  // Once. nullopt: the client left in order (ABORT, or it closed between options). kInvalid: it broke the
  // protocol; kShutdown; kClosed; or what the directory said to EXPORT_NAME, which has no way to tell the
  // client. kRefused, kTimeout also when the handshake of TLS failed. The caller closes the stream.
  io::Task<Result<std::optional<Negotiated>>> run();

  // From now on options are refused with NBD_REP_ERR_SHUTDOWN.
  void begin_shutdown() { stopping_ = true; }
  // Waiting for the client, not for the directory: closing now cuts no answer short.
  bool is_waiting_for_client() const { return waiting_; }
  // The name given to EXPORT_NAME or GO, from when its export is being opened until it was refused.
  const std::optional<std::string>& opening() const { return opening_; }

 private:
  using Outcome = Result<std::optional<Negotiated>>;

  io::Task<Result<void>> receive(std::size_t bytes);
  io::Task<Result<void>> skip(std::uint64_t bytes);
  io::Task<Result<void>> send();
  io::Task<Result<OptionHeader>> next_option();
  io::Task<Result<void>> refuse_long_option(OptionHeader header);
  bool lacks_tls(std::uint32_t option) const;
  io::Task<Result<void>> demand_tls(OptionHeader header);
  io::Task<Result<void>> start_tls(bool has_data);
  // Options that leave the handshake going.
  io::Task<Result<void>> answer(std::uint32_t option, std::vector<std::byte> data);
  io::Task<Result<void>> answer_list(std::vector<std::byte> data);
  io::Task<Result<void>> answer_info(std::vector<std::byte> data);
  io::Task<Result<void>> answer_meta_context(std::uint32_t option, std::vector<std::byte> data);
  // nullopt: GO was refused and the handshake goes on.
  io::Task<Outcome> answer_go(std::vector<std::byte> data);
  io::Task<Outcome> answer_export_name(std::vector<std::byte> data);
  io::Task<Result<Negotiated>> open(std::string name);

  Agreement agreement_for(const std::string& name, const ExportInfo& info) const;
  void add_reply(std::uint32_t option, std::uint32_t type);
  void add_error(std::uint32_t option, std::uint32_t type, const std::string& message);
  void add_information(std::uint32_t option, const InfoOption& asked, const ExportInfo& info);

  std::unique_ptr<io::Stream>& stream_;
  ReceiveBuffer& input_;
  ExportDirectory& directory_;
  std::string client_;
  TlsMode tls_;
  WireEncoder out_;
  std::optional<std::string> opening_;
  std::string context_export_name_;  // for which base:allocation was selected
  bool context_selected_ = false;
  bool structured_replies_ = false;
  bool no_zeroes_ = false;
  bool fixed_newstyle_ = false;
  bool encrypted_ = false;
  bool stopping_ = false;
  bool waiting_ = false;
};

}  // namespace tidemark::nbd
