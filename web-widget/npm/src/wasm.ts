// The core's module: fetched once for a page, by the first client that needs it.

import init, { Core, Settings, application_in } from './core/codex.js';
import { CodexError } from './error.js';
import { source } from './wasm-source.js';

export { Core, Settings, application_in };

let loading: Promise<void> | undefined;

/** Comes back when the module is there; the next call tries again if this one failed. */
export function load(): Promise<void> {
  loading ??= fetchModule().catch((cause: unknown) => {
    loading = undefined;
    throw new CodexError('wasm', `the core could not be loaded: ${String(cause)}`, cause);
  });
  return loading;
}

/** What `codex.wasm` has to be; the build puts it in, so that who checks this script has checked the module. */
declare const WASM_INTEGRITY: string;

async function fetchModule(): Promise<void> {
  // In this form bundlers see the file and take it along.
  const url = source.url ?? new URL('./codex.wasm', import.meta.url);
  const integrity = source.integrity ?? WASM_INTEGRITY;
  await init({ module_or_path: fetch(url, { integrity }) });
}
