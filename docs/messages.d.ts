// Messages of the detector worker's WebSocket, generated from the models by `make docs`.
// JSON text, one message a frame; what they mean is in worker.md. Ignore keys and types that are not here:
// a newer worker may send them.

export interface CameraConnection {
  subscriptionIdentifier: string;
  /** First generation only */
  cameraIdentifier?: string | null;
  /** (whole number, 1–256 characters) */
  modelId: number | string;
  modelName: string;
  /** Fresh frames arrive and the pipeline is loaded */
  online: boolean;
  /** (whole number) */
  cropX1?: number | null;
  /** (whole number) */
  cropY1?: number | null;
  /** (whole number) */
  cropX2?: number | null;
  /** (whole number) */
  cropY2?: number | null;
}

/** What is known of the car of a visit. */
export interface CurrentCar {
  carModel?: string | null;
  carBrand?: string | null;
  /** (whole number) */
  carYear?: number | null;
  bodyType?: string | null;
  licensePlateText?: string | null;
  licensePlateType?: string | null;
}

export interface DetectionData {
  /**
   * Attributes; as extensions `class`, `confidence`, `trackId`, `<attribute>Confidence`,
   * `<attribute>Support` (share of a track's votes)
   */
  detection: Record<string, string | number | boolean | null>;
  /** x1, y1, x2, y2 in full-frame pixels (extension) */
  boundingBox?: number[] | null;
  /** (whole number, 1–256 characters) */
  modelId: number | string;
  modelName: string;
}

/**
 * A refused command or a failure in the background (extension).
 *
 * A failure that lasts is told once when it begins and once, with `resolved`, when it has ended.
 */
export interface ErrorMessage {
  type: "error";
  error: string;
  code:
    | "invalid_json"
    | "invalid_message"
    | "unknown_type"
    | "unknown_subscription"
    | "max_streams_reached"
    | "stream_unreachable"
    | "stream_unauthorized"
    | "stream_refused"
    | "stream_lost"
    | "model_download_failed"
    | "model_invalid"
    | "model_refused"
    | "pipeline_failed"
    | "action_failed"
    | "outbox_full"
    | "overloaded"
    | "invalid_setting"
    | "internal_error";
  subscriptionIdentifier?: string | null;
  /** First generation only */
  cameraIdentifier?: string | null;
  /** true: the failure told before under this code is over */
  resolved?: boolean | null;
}

/** A relevant object was seen. */
export interface ImageDetection {
  type: "imageDetection";
  subscriptionIdentifier: string;
  /** First generation only */
  cameraIdentifier?: string | null;
  /** When the frame was captured, UTC, milliseconds */
  timestamp: string;
  /** Only while the display has a session (extension) (whole number, at most 256 characters) */
  sessionId?: number | string | null;
  data: DetectionData;
}

/** What names a subscription. The protocol's first generation said `cameraIdentifier`. */
export interface NamedPayload {
  /** `displayIdentifier;cameraIdentifier` (1–256 characters) */
  subscriptionIdentifier: string;
}

export interface PatchData {
  currentCar: CurrentCar;
}

export interface PatchResultPayload {
  /** (whole number, at most 256 characters) */
  sessionId: number | string | null;
  success: boolean;
  message?: string | null;
}

/** Merge `data` into the worker's copy of a session; answered by `patchSessionResult`. */
export interface PatchSessionIn {
  type: "patchSession";
  /** (whole number, at most 256 characters) */
  sessionId: number | string;
  data: Record<string, unknown>;
}

/** What could not be told in real time, the newest values of a session in one message. */
export interface PatchSessionOut {
  type: "patchSession";
  /** (whole number, at most 256 characters) */
  sessionId: number | string;
  data: PatchData;
}

/** The answer to a `patchSession`, in either direction. */
export interface PatchSessionResult {
  type: "patchSessionResult";
  payload: PatchResultPayload;
}

/** Ask for a `stateReport` now. */
export interface RequestState {
  type: "requestState";
}

/** Tell which visit a display is in; null ends it. */
export interface SetSessionId {
  type: "setSessionId";
  payload: SetSessionIdPayload;
}

export interface SetSessionIdPayload {
  /** (1–256 characters) */
  displayIdentifier: string;
  /** (whole number, at most 256 characters) */
  sessionId: number | string | null;
}

/** How the machine and this connection's cameras are. The two GPU usages are null without a GPU. */
export interface StateReport {
  type: "stateReport";
  /** (0–100) */
  cpuUsage: number;
  /** (0–100) */
  memoryUsage: number;
  /** (0–100) */
  gpuUsage: number | null;
  /** (0–100) */
  gpuMemoryUsage: number | null;
  cameraConnections: CameraConnection[];
  /** Parts of the worker that have failed (extension) */
  failed?: string[] | null;
}

/** Start, or replace, a subscription. Acknowledged by the next `stateReport`. */
export interface Subscribe {
  type: "subscribe";
  payload: SubscribePayload;
}

/** A display's interest in a camera, and the pipeline to run on it. */
export interface SubscribePayload {
  /** `displayIdentifier;cameraIdentifier` (1–256 characters) */
  subscriptionIdentifier: string;
  /** Whatever FFmpeg opens (at most 4096 characters) */
  rtspUrl?: string | null;
  /** With `snapshotInterval` it wins over `rtspUrl` (at most 4096 characters) */
  snapshotUrl?: string | null;
  /** Milliseconds between two snapshots (whole number, 1–86400000) */
  snapshotInterval?: number | null;
  /** (1–4096 characters) */
  modelUrl: string;
  /** (at most 256 characters) */
  modelName: string;
  /** (whole number, 1–256 characters) */
  modelId: number | string;
  /** (whole number) */
  cropX1?: number | null;
  /** (whole number) */
  cropY1?: number | null;
  /** (whole number) */
  cropX2?: number | null;
  /** (whole number) */
  cropY2?: number | null;
}

/** End a subscription; nothing more is sent for it. */
export interface Unsubscribe {
  type: "unsubscribe";
  payload: NamedPayload;
}

/** What a backend sends. */
export type ToWorker = Subscribe | Unsubscribe | RequestState | SetSessionId | PatchSessionIn | PatchSessionResult;

/** What a worker sends; tell them apart by `type`. */
export type FromWorker = StateReport | ImageDetection | PatchSessionOut | PatchSessionResult | ErrorMessage;
