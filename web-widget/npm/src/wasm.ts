// The core's module: fetched once for a page, by the first client that needs it.

import init, { Core, Settings } from './core/codex.js';
import { CodexError } from './error.js';

export { Core, Settings };

/** Where the core's module comes from. */
export interface WasmSource {
  /** Its address, if it does not lie beside `index.js`. */
  url?: string | URL;
  /** Subresource Integrity of it, such as `sha384-…`. */
  integrity?: string;
}

let source: WasmSource = {};
let loading: Promise<void> | undefined;

/** Says where the core's module comes from. Call it before the first client is made. */
export function configureWasm(from: WasmSource): void {
  source = from;
}

/** Comes back when the module is there; the next call tries again if this one failed. */
export function load(): Promise<void> {
  loading ??= fetchModule().catch((cause: unknown) => {
    loading = undefined;
    throw new CodexError('wasm', `the core could not be loaded: ${String(cause)}`, cause);
  });
  return loading;
}

async function fetchModule(): Promise<void> {
  // In this form bundlers see the file and take it along.
  const url = source.url ?? new URL('./codex.wasm', import.meta.url);
  await init({ module_or_path: fetch(url, source.integrity ? { integrity: source.integrity } : {}) });
}
