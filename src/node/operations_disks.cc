// Operations of the control API on disks and RAID groups, and on where a byte of a volume lies on them.

#include "node/node.h"

namespace tidemark::node {

io::Task<Result<control::DiskListReply>> Node::disk_list(control::DiskListRequest) {
  co_return storage_.disk_list();
}

io::Task<Result<control::DiskListReply>> Node::disk_add(control::DiskAddRequest request) {
  return storage_.disk_add(std::move(request));
}

io::Task<Result<control::DiskListReply>> Node::disk_replace(control::DiskReplaceRequest request) {
  return storage_.disk_replace(std::move(request));
}

io::Task<Result<control::DiskListReply>> Node::disk_remove(control::DiskRemoveRequest request) {
  return storage_.disk_remove(std::move(request));
}

io::Task<Result<control::RaidListReply>> Node::raid_list(control::RaidListRequest) {
  co_return storage_.raid_list();
}

io::Task<Result<control::RaidInfo>> Node::raid_create(control::RaidCreateRequest request) {
  return storage_.raid_create(std::move(request));
}

io::Task<Result<control::RaidListReply>> Node::raid_forget(control::RaidForgetRequest request) {
  return storage_.raid_forget(std::move(request));
}

io::Task<Result<control::RaidInfo>> Node::raid_status(control::RaidStatusRequest request) {
  co_return storage_.raid_status(request);
}

io::Task<Result<control::RaidInfo>> Node::raid_scrub(control::RaidScrubRequest request) {
  co_return storage_.raid_scrub(request);
}

io::Task<Result<control::Done>> Node::raid_scrub_stop(control::RaidScrubStopRequest request) {
  co_return storage_.raid_scrub_stop(request);
}

control::VolumeAddress Node::address_info(const control::VolumeAddressRequest& request, LuNumber lu) const {
  control::VolumeAddress reply;
  reply.group = request.group;
  reply.volume = request.volume;
  reply.offset_bytes = request.offset_bytes;
  reply.lu_number = lu.value;
  reply.lu_address_bytes = request.offset_bytes;
  const pool::DataVolume* base = storage_.pools().data_volume(lu);
  const pool::AddressTranslation place =
      base == nullptr ? pool::AddressTranslation() : base->translate(request.offset_bytes);
  reply.allocated = place.allocated;
  if (!place.allocated) return reply;
  const PoolNumber pool = pool::pool_of(lu);
  const NodeStorage::DiskNames names = storage_.disk_names(pool);
  reply.raid_group = names.raid_group;
  reply.raid_address_bytes = place.disk_offset.value;
  reply.places = storage_.places_of(pool, names, place.disk_offset);
  return reply;
}

io::Task<Result<control::VolumeAddress>> Node::volume_address(control::VolumeAddressRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  TM_CO_TRY_ASSIGN(const group::VolumeShape shape, require_volume(*group, request.volume));
  if (request.offset_bytes >= shape.size_bytes) {
    co_return fail(ErrorCode::kInvalid, "the volume ends at " + std::to_string(shape.size_bytes) +
                                            " bytes, before offset " + std::to_string(request.offset_bytes));
  }
  const control::VolumeInfo info = volume_info(*group, shape);
  co_return address_info(request, LuNumber{info.lu_number});
}

}  // namespace tidemark::node
