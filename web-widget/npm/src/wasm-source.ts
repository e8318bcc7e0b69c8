// Where the core's module comes from.

/** Where the core's module comes from. */
export interface WasmSource {
  /** Its address, if it does not lie beside `index.js`. */
  url?: string | URL;
  /** Its Subresource Integrity, such as `sha384-…`, if it is not the file that was built with `index.js`; empty: none. */
  integrity?: string;
}

/** @internal */
export let source: WasmSource = {};

/** Says where the core's module comes from. Call it before the first client is made. */
export function configureWasm(from: WasmSource): void {
  source = from;
}
