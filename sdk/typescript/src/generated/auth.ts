// Generated from the command table by `python -m sdk.generate`. Do not edit.

import type { CallOptions, Caller } from "../types.js";

/** Payload of auth.login. */
export interface AuthLoginPayload {
  /** 1 to 128 characters, none of them a colon or a control character; at most 128 characters */
  readonly username: string;
  /** at most 1024 characters */
  readonly password: string;
}

/** Payload of auth.create_key: roles, permissions, or both. `allowed_ips` holds addresses and networks (CIDR). */
export interface AuthCreateKeyPayload {
  /** at most 128 characters */
  readonly name: string;
  /** at most 100 of them; [] when left out */
  readonly roles?: readonly string[] | undefined;
  /** at most 1000 of them; [] when left out */
  readonly permissions?: readonly string[] | undefined;
  /** Unix milliseconds; at least 0 */
  readonly expires_at?: number | null | bigint | undefined;
  /** at most 100 of them; [] when left out */
  readonly allowed_ips?: readonly string[] | undefined;
}

/** A command on one API key. */
export interface AuthRevokeKeyPayload {
  /** at most 128 characters */
  readonly id: string;
}

/** Payload of auth.create_role; `replace` gives a role that is there these permissions instead of its own. */
export interface AuthCreateRolePayload {
  /** at most 64 characters */
  readonly role: string;
  /** at least 1 of them; at most 1000 of them */
  readonly permissions: readonly string[];
  /** false when left out */
  readonly replace?: boolean | undefined;
}

/** A command on one role. */
export interface AuthDeleteRolePayload {
  /** at most 64 characters */
  readonly role: string;
}

/** Payload of auth.create_user. */
export interface AuthCreateUserPayload {
  /** 1 to 128 characters, none of them a colon or a control character; at most 128 characters */
  readonly username: string;
  /** at most 1024 characters */
  readonly password: string;
  /** at most 100 of them; [] when left out */
  readonly roles?: readonly string[] | undefined;
}

/** A command on one user. */
export interface AuthDeleteUserPayload {
  /** 1 to 128 characters, none of them a colon or a control character; at most 128 characters */
  readonly username: string;
}

/** A command on one user. */
export interface AuthEnableUserPayload {
  /** 1 to 128 characters, none of them a colon or a control character; at most 128 characters */
  readonly username: string;
}

/** A command on one user. */
export interface AuthDisableUserPayload {
  /** 1 to 128 characters, none of them a colon or a control character; at most 128 characters */
  readonly username: string;
}

/** Payload of auth.set_password. */
export interface AuthSetPasswordPayload {
  /** 1 to 128 characters, none of them a colon or a control character; at most 128 characters */
  readonly username: string;
  /** at most 1024 characters */
  readonly password: string;
}

/** A user and a role. */
export interface AuthGrantRolePayload {
  /** 1 to 128 characters, none of them a colon or a control character; at most 128 characters */
  readonly username: string;
  /** at most 64 characters */
  readonly role: string;
}

/** A user and a role. */
export interface AuthRevokeRolePayload {
  /** 1 to 128 characters, none of them a colon or a control character; at most 128 characters */
  readonly username: string;
  /** at most 64 characters */
  readonly role: string;
}

/** A token to send as `Authorization: Bearer`, and when it expires (Unix ms). */
export interface AuthLoginResult {
  token: string;
  expires_at: number;
}

/** Who asks: `kind` is key, user, token, root or anonymous. */
export interface AuthMeResult {
  name: string;
  kind: string;
  roles: string[];
  permissions: string[];
}

/** The new key, which nobody will be told again. */
export interface AuthCreateKeyResult {
  id: string;
  name: string;
  key: string;
  expires_at: number | null;
}

/** The key is no longer good. */
export interface AuthRevokeKeyResult {
  revoked: boolean;
}

/** An API key without the key; `last_used_at` (Unix ms) is known to the minute. */
export interface AuthKeyListed {
  id: string;
  name: string;
  roles: string[];
  permissions: string[];
  created_at: number;
  expires_at: number | null;
  allowed_ips: string[];
  last_used_at: number | null;
}

/** API keys, oldest first, those expired included. */
export interface AuthListKeysResult {
  keys: AuthKeyListed[];
}

/** A role and what it allows. */
export interface AuthCreateRoleResult {
  role: string;
  permissions: string[];
}

/** The role is gone. */
export interface AuthDeleteRoleResult {
  deleted: boolean;
}

/** A role, what it allows, and whether it is built in. */
export interface AuthRoleListed {
  role: string;
  permissions: string[];
  builtin: boolean;
}

/** The built-in roles, then the others by name. */
export interface AuthListRolesResult {
  roles: AuthRoleListed[];
}

/** A user, and the roles given to them. */
export interface AuthCreateUserResult {
  username: string;
  roles: string[];
}

/** Whether the command found what it needed. */
export interface AuthDeleteUserResult {
  success: boolean;
}

/** Whether the command found what it needed. */
export interface AuthEnableUserResult {
  success: boolean;
}

/** Whether the command found what it needed. */
export interface AuthDisableUserResult {
  success: boolean;
}

/** Whether the command found what it needed. */
export interface AuthSetPasswordResult {
  success: boolean;
}

/** The roles of the user after the command. */
export interface AuthGrantRoleResult {
  roles: string[];
}

/** The roles of the user after the command. */
export interface AuthRevokeRoleResult {
  roles: string[];
}

/** A user; `last_login_at` (Unix ms) is null before the first login. */
export interface AuthUserListed {
  username: string;
  roles: string[];
  enabled: boolean;
  created_at: number;
  last_login_at: number | null;
}

/** Users by name. The one that the settings name is not among them. */
export interface AuthListUsersResult {
  users: AuthUserListed[];
}

/** The commands `auth.*`. */
export class AuthCommands {
  protected readonly caller: Caller;

  constructor(caller: Caller) {
    this.caller = caller;
  }

  /**
   * Get a token for a username and a password. Failed attempts are slowed down.
   *
   * Cost O(1), some 50 ms of it in another thread. Since 0.4.
   */
  login(payload: AuthLoginPayload, options?: CallOptions): Promise<AuthLoginResult> {
    return this.caller.call("auth.login", payload, options);
  }

  /**
   * Tell who asks and what they may do, those permissions included that come with roles.
   *
   * Cost O(1). Since 0.4.
   */
  me(options?: CallOptions): Promise<AuthMeResult> {
    return this.caller.call("auth.me", {}, options);
  }

  /**
   * Make an API key. It is shown once; only its SHA-256 is kept.
   *
   * Cost O(1). Since 0.4. Needs a permission for administrators.
   */
  create_key(payload: AuthCreateKeyPayload, options?: CallOptions): Promise<AuthCreateKeyResult> {
    return this.caller.call("auth.create_key", payload, options);
  }

  /**
   * Make an API key useless, on open connections too.
   *
   * Cost O(1). Since 0.4. Needs a permission for administrators.
   */
  revoke_key(payload: AuthRevokeKeyPayload, options?: CallOptions): Promise<AuthRevokeKeyResult> {
    return this.caller.call("auth.revoke_key", payload, options);
  }

  /**
   * List all API keys, never the keys themselves.
   *
   * Cost O(n log n). Since 0.4. Needs a permission for administrators.
   */
  list_keys(options?: CallOptions): Promise<AuthListKeysResult> {
    return this.caller.call("auth.list_keys", {}, options);
  }

  /**
   * Make a role: a name for permissions.
   *
   * Cost O(permissions). Since 0.4. Needs a permission for administrators.
   */
  create_role(payload: AuthCreateRolePayload, options?: CallOptions): Promise<AuthCreateRoleResult> {
    return this.caller.call("auth.create_role", payload, options);
  }

  /**
   * Remove a role, from all who have it as well.
   *
   * Cost O(users + keys). Since 0.4. Needs a permission for administrators.
   */
  delete_role(payload: AuthDeleteRolePayload, options?: CallOptions): Promise<AuthDeleteRoleResult> {
    return this.caller.call("auth.delete_role", payload, options);
  }

  /**
   * List all roles.
   *
   * Cost O(n log n). Since 0.4. Needs a permission for administrators.
   */
  list_roles(options?: CallOptions): Promise<AuthListRolesResult> {
    return this.caller.call("auth.list_roles", {}, options);
  }

  /**
   * Make a user who logs in with a password, of which only the argon2 hash is kept.
   *
   * Cost O(1), some 50 ms of it in another thread. Since 0.4. Needs a permission for administrators.
   */
  create_user(payload: AuthCreateUserPayload, options?: CallOptions): Promise<AuthCreateUserResult> {
    return this.caller.call("auth.create_user", payload, options);
  }

  /**
   * Remove a user. Their tokens and open connections end.
   *
   * Cost O(1). Since 0.4. Needs a permission for administrators.
   */
  delete_user(payload: AuthDeleteUserPayload, options?: CallOptions): Promise<AuthDeleteUserResult> {
    return this.caller.call("auth.delete_user", payload, options);
  }

  /**
   * Let a user in again.
   *
   * Cost O(1). Since 0.4. Needs a permission for administrators.
   */
  enable_user(payload: AuthEnableUserPayload, options?: CallOptions): Promise<AuthEnableUserResult> {
    return this.caller.call("auth.enable_user", payload, options);
  }

  /**
   * Let a user in no more. Their tokens and open connections end, until they are enabled again.
   *
   * Cost O(1). Since 0.4. Needs a permission for administrators.
   */
  disable_user(payload: AuthDisableUserPayload, options?: CallOptions): Promise<AuthDisableUserResult> {
    return this.caller.call("auth.disable_user", payload, options);
  }

  /**
   * Replace a password. Tokens from before end.
   *
   * Cost O(1), some 50 ms of it in another thread. Since 0.4. Needs a permission for administrators.
   */
  set_password(payload: AuthSetPasswordPayload, options?: CallOptions): Promise<AuthSetPasswordResult> {
    return this.caller.call("auth.set_password", payload, options);
  }

  /**
   * Give a user a role.
   *
   * Cost O(roles). Since 0.4. Needs a permission for administrators.
   */
  grant_role(payload: AuthGrantRolePayload, options?: CallOptions): Promise<AuthGrantRoleResult> {
    return this.caller.call("auth.grant_role", payload, options);
  }

  /**
   * Take a role from a user; it holds from their next command on.
   *
   * Cost O(roles). Since 0.4. Needs a permission for administrators.
   */
  revoke_role(payload: AuthRevokeRolePayload, options?: CallOptions): Promise<AuthRevokeRoleResult> {
    return this.caller.call("auth.revoke_role", payload, options);
  }

  /**
   * List all users.
   *
   * Cost O(n log n). Since 0.4. Needs a permission for administrators.
   */
  list_users(options?: CallOptions): Promise<AuthListUsersResult> {
    return this.caller.call("auth.list_users", {}, options);
  }
}
