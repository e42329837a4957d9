#pragma once

#include <memory>
#include <vector>

#include "base/result.h"
#include "io/environment.h"
#include "io/stream.h"
#include "os/descriptor.h"
#include "os/reactor.h"
#include "os/socket_address.h"

namespace tidemark::os {

// Unix and TCP streams in the ring of the reactor. Lives on the reactor thread; the reactor and the offload,
// which looks up names, outlive it and all streams and listeners it made. Those do not need the network
// itself.
//
// A unix socket is made with mode 0600. When its path is taken, the one that holds it is tried: refused, it
// is left over from a crash and replaced; accepted, kBusy. (Two starters at the same moment could each take
// the other's fresh socket for stale: DataFolder keeps them apart.) The path is removed on close if it is
// still the same socket. TCP runs without Nagle's delay and with keep-alive, so that a peer that vanished
// without a word is noticed within about two minutes.
//
// Failures of a stream: kClosed after a reset or close(), kTimeout when the peer stopped answering, kIo
// otherwise.
class Network final : public io::Network {
 public:
  Network(Reactor& reactor, io::Offload& offload) : reactor_(reactor), offload_(offload) {}
  // kInvalid, kNotFound (host or folder), kBusy, kRefused (not permitted), kIo. accept() waits and tries
  // again while the process or the system has no descriptor left; a connection whose accept() was abandoned
  // at the moment it came is closed.
  io::Task<Result<std::unique_ptr<io::Listener>>> listen(io::Address address) override;
  // kInvalid, kNotFound (host), kClosed, kTimeout, kIo. The time-out covers the look-up of the name and all
  // addresses that it has, each tried in turn.
  io::Task<Result<std::unique_ptr<io::Stream>>> connect(io::Address address, Duration timeout) override;

 private:
  io::Task<Result<std::vector<SocketAddress>>> resolve(io::Address address, bool to_listen,
                                                       MonotonicTime deadline);
  io::Task<Result<std::unique_ptr<io::Stream>>> connect_to(io::Address name, SocketAddress address,
                                                           MonotonicTime deadline);
  Reactor& reactor_;
  io::Offload& offload_;
};

// A stream on a connected socket. For sockets that were connected elsewhere (socketpair, an inherited
// descriptor).
std::unique_ptr<io::Stream> make_stream(Reactor& reactor, Descriptor descriptor, std::string peer_name);

}  // namespace tidemark::os
