// Generated from the command table by `python -m sdk.generate`. Do not edit.

import { SynapError } from "../base-error.js";

/** The body is not a JSON envelope, or the HTTP request around it is unusable. */
export class InvalidRequestError extends SynapError {
  override readonly code: string = "INVALID_REQUEST";
  override readonly name: string = "InvalidRequestError";
}

/** No such command; `details.suggestion` names the nearest. */
export class UnknownCommandError extends SynapError {
  override readonly code: string = "UNKNOWN_COMMAND";
  override readonly name: string = "UnknownCommandError";
}

/** Valid JSON with wrong fields; `details.path` names the place. */
export class InvalidPayloadError extends SynapError {
  override readonly code: string = "INVALID_PAYLOAD";
  override readonly name: string = "InvalidPayloadError";
}

/** A body, key or value over its limit. */
export class PayloadTooLargeError extends SynapError {
  override readonly code: string = "PAYLOAD_TOO_LARGE";
  override readonly name: string = "PayloadTooLargeError";
}

/** The command needs a key that is not there. */
export class KeyNotFoundError extends SynapError {
  override readonly code: string = "KEY_NOT_FOUND";
  override readonly name: string = "KeyNotFoundError";
}

/** No credential where one is needed, or one that is not, or no longer, good. */
export class UnauthorizedError extends SynapError {
  override readonly code: string = "UNAUTHORIZED";
  override readonly name: string = "UnauthorizedError";
}

/** The credential lacks the permission, which `details` names; or this is not the place to use it. */
export class ForbiddenError extends SynapError {
  override readonly code: string = "FORBIDDEN";
  override readonly name: string = "ForbiddenError";
}

/** Too many requests, or failed logins. `details.retry_after_secs` says how long to wait. */
export class RateLimitExceededError extends SynapError {
  override readonly code: string = "RATE_LIMIT_EXCEEDED";
  override readonly name: string = "RateLimitExceededError";
}

/** There is no such user. */
export class UserNotFoundError extends SynapError {
  override readonly code: string = "USER_NOT_FOUND";
  override readonly name: string = "UserNotFoundError";
}

/** There is no such role. */
export class RoleNotFoundError extends SynapError {
  override readonly code: string = "ROLE_NOT_FOUND";
  override readonly name: string = "RoleNotFoundError";
}

/** The user is there already. */
export class UserExistsError extends SynapError {
  override readonly code: string = "USER_EXISTS";
  override readonly name: string = "UserExistsError";
}

/** The role is there already, with other permissions. */
export class RoleExistsError extends SynapError {
  override readonly code: string = "ROLE_EXISTS";
  override readonly name: string = "RoleExistsError";
}

/** A subscription where nothing can be pushed to. */
export class NeedsWebsocketError extends SynapError {
  override readonly code: string = "NEEDS_WEBSOCKET";
  override readonly name: string = "NeedsWebsocketError";
}

/** There is no such queue. */
export class QueueNotFoundError extends SynapError {
  override readonly code: string = "QUEUE_NOT_FOUND";
  override readonly name: string = "QueueNotFoundError";
}

/** There is no such stream. */
export class RoomNotFoundError extends SynapError {
  override readonly code: string = "ROOM_NOT_FOUND";
  override readonly name: string = "RoomNotFoundError";
}

/** The stream has no such consumer group. */
export class GroupNotFoundError extends SynapError {
  override readonly code: string = "GROUP_NOT_FOUND";
  override readonly name: string = "GroupNotFoundError";
}

/** No such message, or its lease is over. */
export class MessageNotFoundError extends SynapError {
  override readonly code: string = "MESSAGE_NOT_FOUND";
  override readonly name: string = "MessageNotFoundError";
}

/** The queue is there already, with another configuration. */
export class QueueExistsError extends SynapError {
  override readonly code: string = "QUEUE_EXISTS";
  override readonly name: string = "QueueExistsError";
}

/** The stream is there already. */
export class RoomExistsError extends SynapError {
  override readonly code: string = "ROOM_EXISTS";
  override readonly name: string = "RoomExistsError";
}

/** The key holds another type; `details` names both. */
export class WrongTypeError extends SynapError {
  override readonly code: string = "WRONG_TYPE";
  override readonly name: string = "WrongTypeError";
}

/** The idempotency key was used for another request. */
export class IdempotencyConflictError extends SynapError {
  override readonly code: string = "IDEMPOTENCY_CONFLICT";
  override readonly name: string = "IdempotencyConflictError";
}

/** The master still answers: a second one would part the data. `force` promotes all the same. */
export class MasterAliveError extends SynapError {
  override readonly code: string = "MASTER_ALIVE";
  override readonly name: string = "MasterAliveError";
}

/** Arithmetic on a value that is not a number. */
export class NotANumberError extends SynapError {
  override readonly code: string = "NOT_A_NUMBER";
  override readonly name: string = "NotANumberError";
}

/** A number outside 64 bits, or an index outside its value. */
export class OutOfRangeError extends SynapError {
  override readonly code: string = "OUT_OF_RANGE";
  override readonly name: string = "OutOfRangeError";
}

/** An offset outside the log. */
export class InvalidOffsetError extends SynapError {
  override readonly code: string = "INVALID_OFFSET";
  override readonly name: string = "InvalidOffsetError";
}

/** A bug. `details.incident` is also in the log, beside the exception. */
export class InternalError extends SynapError {
  override readonly code: string = "INTERNAL_ERROR";
  override readonly name: string = "InternalError";
}

/** The server is starting or draining, or a replica that is not up to date. */
export class UnavailableError extends SynapError {
  override readonly code: string = "UNAVAILABLE";
  override readonly name: string = "UnavailableError";
}

/** A write on a replica. `details.master` is where it belongs, null while no master is known. */
export class ReadOnlyError extends SynapError {
  override readonly code: string = "READ_ONLY";
  override readonly name: string = "ReadOnlyError";
}

/** The write is in this server's journal, but not in as many replicas' as was asked for. */
export class AckTimeoutError extends SynapError {
  override readonly code: string = "ACK_TIMEOUT";
  override readonly name: string = "AckTimeoutError";
}

/** The queue is as deep as it may be. */
export class QueueFullError extends SynapError {
  override readonly code: string = "QUEUE_FULL";
  override readonly name: string = "QueueFullError";
}

/** `memory.limit_bytes` is reached and the policy frees nothing. */
export class MemoryLimitError extends SynapError {
  override readonly code: string = "MEMORY_LIMIT";
  override readonly name: string = "MemoryLimitError";
}

/** The journal cannot be written. */
export class DiskFullError extends SynapError {
  override readonly code: string = "DISK_FULL";
  override readonly name: string = "DiskFullError";
}

/** The class of every code that a server answers. */
export const ERRORS: Readonly<Record<string, typeof SynapError>> = {
  INVALID_REQUEST: InvalidRequestError,
  UNKNOWN_COMMAND: UnknownCommandError,
  INVALID_PAYLOAD: InvalidPayloadError,
  PAYLOAD_TOO_LARGE: PayloadTooLargeError,
  KEY_NOT_FOUND: KeyNotFoundError,
  UNAUTHORIZED: UnauthorizedError,
  FORBIDDEN: ForbiddenError,
  RATE_LIMIT_EXCEEDED: RateLimitExceededError,
  USER_NOT_FOUND: UserNotFoundError,
  ROLE_NOT_FOUND: RoleNotFoundError,
  USER_EXISTS: UserExistsError,
  ROLE_EXISTS: RoleExistsError,
  NEEDS_WEBSOCKET: NeedsWebsocketError,
  QUEUE_NOT_FOUND: QueueNotFoundError,
  ROOM_NOT_FOUND: RoomNotFoundError,
  GROUP_NOT_FOUND: GroupNotFoundError,
  MESSAGE_NOT_FOUND: MessageNotFoundError,
  QUEUE_EXISTS: QueueExistsError,
  ROOM_EXISTS: RoomExistsError,
  WRONG_TYPE: WrongTypeError,
  IDEMPOTENCY_CONFLICT: IdempotencyConflictError,
  MASTER_ALIVE: MasterAliveError,
  NOT_A_NUMBER: NotANumberError,
  OUT_OF_RANGE: OutOfRangeError,
  INVALID_OFFSET: InvalidOffsetError,
  INTERNAL_ERROR: InternalError,
  UNAVAILABLE: UnavailableError,
  READ_ONLY: ReadOnlyError,
  ACK_TIMEOUT: AckTimeoutError,
  QUEUE_FULL: QueueFullError,
  MEMORY_LIMIT: MemoryLimitError,
  DISK_FULL: DiskFullError,
};
