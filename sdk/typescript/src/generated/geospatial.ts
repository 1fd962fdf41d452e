// Generated from the command table by `python -m sdk.generate`. Do not edit.

import type { CallOptions, Caller } from "../types.js";

/** Payload of geospatial.geoadd. `nx` only adds, `xx` only moves; `ch` counts moved members too. */
export interface GeospatialGeoaddPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly member?: string | null | undefined;
  /** degrees; at least -180.0; at most 180.0 */
  readonly longitude?: number | null | undefined;
  /** degrees; at least -85.05112878; at most 85.05112878 */
  readonly latitude?: number | null | undefined;
  /** at least 1 of them */
  readonly members?: readonly GeospatialPlace[] | null | undefined;
  /** false when left out */
  readonly nx?: boolean | undefined;
  /** false when left out */
  readonly xx?: boolean | undefined;
  /** false when left out */
  readonly ch?: boolean | undefined;
}

/** Payload of geospatial.geodist. */
export interface GeospatialGeodistPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly member1: string;
  readonly member2: string;
  /** "m" when left out */
  readonly unit?: "ft" | "km" | "m" | "mi" | undefined;
}

/** A command on one member or several. */
export interface GeospatialGeoposPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly member?: string | null | undefined;
  readonly members?: readonly string[] | null | undefined;
}

/** A command on one member or several. */
export interface GeospatialGeohashPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly member?: string | null | undefined;
  readonly members?: readonly string[] | null | undefined;
}

/**
 * Payload of geospatial.geosearch.
 *
 * The centre is a `member` or a `longitude` and `latitude`; the area is the circle with `radius` or the box with
 * `width` and `height` around it. With `count` the nearest come, with `any` whichever are found first. They come in the
 * order of their scores, unless `sort` or a `count` without `any` asks for that of their distances.
 */
export interface GeospatialGeosearchPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly member?: string | null | undefined;
  /** degrees; at least -180.0; at most 180.0 */
  readonly longitude?: number | null | undefined;
  /** degrees; at least -85.05112878; at most 85.05112878 */
  readonly latitude?: number | null | undefined;
  /** at least 0 */
  readonly radius?: number | null | undefined;
  /** at least 0 */
  readonly width?: number | null | undefined;
  /** at least 0 */
  readonly height?: number | null | undefined;
  /** "m" when left out */
  readonly unit?: "ft" | "km" | "m" | "mi" | undefined;
  /** at least 1 */
  readonly count?: number | null | bigint | undefined;
  /** false when left out */
  readonly any?: boolean | undefined;
  readonly sort?: "asc" | "desc" | null | undefined;
}

/** A member and where it is. */
export interface GeospatialPlace {
  readonly member: string;
  /** degrees; at least -180.0; at most 180.0 */
  readonly longitude: number;
  /** degrees; at least -85.05112878; at most 85.05112878 */
  readonly latitude: number;
}

/** `added` counts new members, with `ch` moved ones too. */
export interface GeospatialGeoaddResult {
  added: number;
}

/** A distance in the unit asked for, null when one of the members is not there. */
export interface GeospatialGeodistResult {
  distance: number | null;
}

/** Where a place is, in degrees. */
export interface GeospatialPosition {
  longitude: number;
  latitude: number;
}

/** A position for each member asked for, null where there is none. */
export interface GeospatialGeoposResult {
  positions: (GeospatialPosition | null)[];
}

/** A geohash for each member asked for, null where there is none. */
export interface GeospatialGeohashResult {
  hashes: (string | null)[];
}

/** A member, how far it is from the centre, in the unit asked for, and where it is. */
export interface GeospatialFoundPlace {
  member: string;
  distance: number;
  longitude: number;
  latitude: number;
}

/** The places inside the area. */
export interface GeospatialGeosearchResult {
  members: GeospatialFoundPlace[];
}

/** The commands `geospatial.*`. */
export class GeospatialCommands {
  protected readonly caller: Caller;

  constructor(caller: Caller) {
    this.caller = caller;
  }

  /**
   * Add places, or move them. They are kept to within 30 cm each way.
   *
   * Cost O(members x log n). Since 0.2.
   */
  geoadd(payload: GeospatialGeoaddPayload, options?: CallOptions): Promise<GeospatialGeoaddResult> {
    return this.caller.call("geospatial.geoadd", payload, options);
  }

  /**
   * Measure the distance between two places along the surface of the Earth, taken as a sphere.
   *
   * Cost O(1). Since 0.2.
   */
  geodist(payload: GeospatialGeodistPayload, options?: CallOptions): Promise<GeospatialGeodistResult> {
    return this.caller.call("geospatial.geodist", payload, options);
  }

  /**
   * Tell where places are.
   *
   * Cost O(members). Since 0.2.
   */
  geopos(payload: GeospatialGeoposPayload, options?: CallOptions): Promise<GeospatialGeoposResult> {
    return this.caller.call("geospatial.geopos", payload, options);
  }

  /**
   * Tell where places are as geohashes of 11 characters, as https://geohash.org takes them.
   *
   * Cost O(members). Since 0.2.
   */
  geohash(payload: GeospatialGeohashPayload, options?: CallOptions): Promise<GeospatialGeohashResult> {
    return this.caller.call("geospatial.geohash", payload, options);
  }

  /**
   * Find the places in a circle or a box.
   *
   * Cost O(log n + places in and closely around the area). Since 0.2.
   */
  geosearch(payload: GeospatialGeosearchPayload, options?: CallOptions): Promise<GeospatialGeosearchResult> {
    return this.caller.call("geospatial.geosearch", payload, options);
  }
}
