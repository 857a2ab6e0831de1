//! Identifiers that follow from one another.
//!
//! A task has a version-7 UUID made by [`task_uuid`] with its last two bytes zero. Its steps take the
//! same bytes, version 8 (RFC 9562 §5.8, free use), and their number in the last two bytes. So a step's UUID
//! needs no column and no index: either one leads to the other.

use uuid::Uuid;

/// Steps a task can ever number: 14 bits.
pub const STEP_NUMBERS: u32 = 1 << 14;

/// Makes a task UUID from a fresh version-7 UUID.
pub fn task_uuid(v7: Uuid) -> Uuid {
    let mut bytes = v7.into_bytes();
    bytes[14] = 0;
    bytes[15] = 0;
    Uuid::from_bytes(bytes)
}

/// The UUID of step `no` of a task.
pub fn step_uuid(task: Uuid, no: u16) -> Uuid {
    let mut bytes = task.into_bytes();
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[14..16].copy_from_slice(&no.to_be_bytes());
    Uuid::from_bytes(bytes)
}

/// The task UUID and step number of a step UUID; `None` when it is not one of ours.
pub fn split_step_uuid(step: Uuid) -> Option<(Uuid, u16)> {
    let mut bytes = step.into_bytes();
    if bytes[6] >> 4 != 8 {
        return None;
    }
    let no = u16::from_be_bytes([bytes[14], bytes[15]]);
    bytes[6] = (bytes[6] & 0x0f) | 0x70;
    bytes[14] = 0;
    bytes[15] = 0;
    (u32::from(no) < STEP_NUMBERS).then(|| (Uuid::from_bytes(bytes), no))
}

/// The UUID of one hand-out of a step: the step's bytes with the fencing token over the random part.
///
/// The same attempt always has the same event id, which makes it a fit idempotency key per attempt.
pub fn event_uuid(task: Uuid, no: u16, fence: u32) -> Uuid {
    let mut bytes = step_uuid(task, no).into_bytes();
    for (byte, token) in bytes[10..14].iter_mut().zip(fence.to_be_bytes()) {
        *byte ^= token;
    }
    Uuid::from_bytes(bytes)
}

/// The UUID of an event published when an attempt ended; the same event always has the same id, so consumers can
/// tell a repeated delivery.
pub fn domain_event_uuid(task: Uuid, no: u16, fence: u32, index: usize) -> Uuid {
    let mut bytes = event_uuid(task, no, fence).into_bytes();
    for (byte, token) in bytes[8..10].iter_mut().zip(((index as u16 + 1) & 0x3fff).to_be_bytes()) {
        *byte ^= token;
    }
    Uuid::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_uuid_leads_back_to_its_task() {
        let task = task_uuid(Uuid::from_u128(0x0190_0000_0000_7abc_8def_0123_4567_89ab));
        assert_eq!(split_step_uuid(step_uuid(task, 16_383)), Some((task, 16_383)));
        assert_eq!(split_step_uuid(task), None);
        assert_ne!(event_uuid(task, 3, 1), event_uuid(task, 3, 2));
    }
}
