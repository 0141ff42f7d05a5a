// What the query API sends and takes, as the page uses it.
//
// In the flow: **`api_types`** → `api`. Nothing inside an event is trusted to be there or to be of its type: `log_event` reads it.

export type LogEvent = Record<string, unknown>;

export interface Hit {
  id: string;
  index: string;
  event: LogEvent;
}

export interface PartialReason {
  code: string;
  detail: string;
}

/** What every reply of a search says about its own completeness. */
export interface Completeness {
  partial: boolean;
  partial_reasons: PartialReason[];
}

export interface Total {
  value: number;
  relation: "eq" | "gte";
}

export type Sort = "newest" | "oldest";

/** What is searched: the part of a view that the API answers. */
export interface Query {
  q: string;
  from: string;
  to: string;
}

export interface SearchReply extends Completeness {
  hits: Hit[];
  total: Total;
  took_ms: number;
  next_cursor: string | null;
  /** The range that was searched, as moments: `null` where it has no end. */
  from: string | null;
  to: string | null;
}

export interface Bucket {
  from: string;
  count: number;
  levels: Record<string, number>;
}

export interface HistogramReply extends Completeness {
  interval_ms: number;
  from: string;
  to: string;
  buckets: Bucket[];
  total: Total;
}

export type FieldType = "text" | "keyword" | "number" | "boolean" | "date" | "flattened";

export interface Field {
  name: string;
  type: FieldType;
  count: number;
}

export interface FieldsReply extends Completeness {
  fields: Field[];
  sampled: number;
}

export type FacetScalar = string | number | boolean;

export interface FacetReply extends Completeness {
  field: string;
  values: { value: FacetScalar; count: number }[];
  others: number;
  without: number;
}

export interface ContextReply extends Completeness {
  before: Hit[];
  hit: Hit;
  after: Hit[];
  resource: string | null;
}

export interface TraceReply extends Completeness {
  hits: Hit[];
  total: Total;
}

export interface Hold {
  cause: string;
  items: number;
  since_seconds: number;
  reason: string;
}

export interface Sink {
  address: string;
  reachable: boolean;
  lag: number | null;
  freshness_seconds: number | null;
  holds: Hold[];
  partitions: number | null;
  ready: boolean;
  reasons: string[];
}

export interface DeadLetter {
  partition: number;
  offset: number;
  time: string | null;
  topic: string | null;
  reason_class: string | null;
  reason: string | null;
  value: string | null;
}

export interface DeadLetters {
  /** How many of the letters that were looked at were not redriven. */
  count: number;
  /** Whether all were looked at. */
  count_is_exact: boolean;
  newest: DeadLetter[];
}

export interface PipelineReply {
  sinks: Sink[];
  topic: { name: string; partitions: number; end_offsets: number } | null;
  dead_letters: DeadLetters | null;
}

export interface RedriveReply {
  redriven: number;
  refused: number;
  /** The first of the refused, and why. */
  refusals: string[];
  ended_early: string | null;
}

export type Scope = "ingest" | "query" | "tail" | "export" | "admin" | "observe";

export interface SessionReply {
  needs_key: boolean;
  /** The key's. */
  id: string | null;
  /** Whose events the key sees; null: everybody's. */
  tenant: string | null;
  scopes: Scope[];
  expires: string | null;
}
