// The core's module: fetched once for a page, by the first client that needs it.

import init, { Core, Settings } from './core/codex.js';
import { CodexError } from './error.js';
import { source } from './wasm-source.js';

export { Core, Settings };

let loading: Promise<void> | undefined;

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
