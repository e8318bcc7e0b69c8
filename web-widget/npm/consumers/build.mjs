// Builds sites that use the package: node build.mjs TOOLS OUT. Each has an index.html without inline script or style.

import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const [tools, out] = process.argv.slice(2).map((folder) => path.resolve(folder));
const here = path.dirname(fileURLToPath(import.meta.url));
const require = createRequire(path.join(tools, 'package.json'));
const load = (name) => import(pathToFileURL(require.resolve(name)).href);

const page = (script, body = '') =>
  `<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>A site</title>\n` +
  `<meta name="viewport" content="width=device-width">\n${script}</head>\n<body>${body}</body></html>\n`;
const moduleTag = '<script type="module" src="./main.js"></script>\n';

// As npm would install the package and its older name.
for (const place of [tools, path.join(tools, 'react18'), path.join(tools, 'react19')]) {
  const scope = path.join(place, 'node_modules/@codex');
  await rm(scope, { recursive: true, force: true });
  for (const file of ['package.json', 'dist']) {
    await cp(path.join(here, '..', file), path.join(scope, 'web-widget', file), { recursive: true });
  }
  await cp(path.join(here, '../alias'), path.join(scope, 'core-sip'), { recursive: true });
}

// Bundlers look for packages beside the sources, so the sources are where the packages are.
const sources = path.join(tools, 'site');
await rm(sources, { recursive: true, force: true });
await cp(here, sources, { recursive: true });
await mkdir(out, { recursive: true });
const folder = async (name, html) => {
  const made = path.join(out, name);
  await mkdir(made, { recursive: true });
  if (html) await writeFile(path.join(made, 'index.html'), html);
  return made;
};

const esbuild = await load('esbuild');
const bundle = (options) => esbuild.build({ bundle: true, format: 'esm', target: 'es2022', logLevel: 'warning', ...options });

async function withEsbuild() {
  const made = await folder('esbuild', page(moduleTag));
  await bundle({ entryPoints: [path.join(sources, 'main.js')], outdir: made, minify: true, splitting: true });
  // As the guide says: esbuild leaves the module's address as it is.
  await cp(path.join(here, '../dist/codex.wasm'), path.join(made, 'codex.wasm'));
}

async function withVite() {
  const made = path.join(out, 'vite');
  await writeFile(path.join(sources, 'index.html'), page(moduleTag));
  const { build } = await load('vite');
  await build({ root: sources, base: './', logLevel: 'warn', build: { outDir: made, emptyOutDir: true, target: 'es2022' } });
}

async function withWebpack() {
  const made = await folder('webpack', page(moduleTag));
  const webpack = require('webpack');
  await new Promise((resolve, reject) => {
    const options = {
      mode: 'production',
      context: sources,
      entry: './main.js',
      output: { path: made, filename: 'main.js', publicPath: 'auto', module: true, chunkFormat: 'module' },
      experiments: { outputModule: true },
      performance: { hints: false },
    };
    webpack(options, (error, stats) => {
      if (error ?? stats.hasErrors()) reject(error ?? new Error(stats.toString('errors-only')));
      else resolve();
    });
  });
}

// No bundler: the files as they are shipped, found by an import map, each with its integrity.
async function plain() {
  const made = await folder('plain');
  await cp(path.join(here, '../dist'), path.join(made, 'codex'), { recursive: true });
  await writeFile(
    path.join(made, 'main.js'),
    (await readFile(path.join(here, 'main.js'), 'utf8')).replaceAll(/'@codex\/(?:web-widget|core-sip)(\/element)?'/g, (_, element) =>
      element ? "'./codex/element.js'" : "'./codex/index.js'",
    ),
  );
  const { createHash } = await import('node:crypto');
  const sri = async (name) =>
    `sha384-${createHash('sha384').update(await readFile(path.join(made, 'codex', name))).digest('base64')}`;
  const script = async (name) => `<script type="module" src="./codex/${name}" integrity="${await sri(name)}"></script>\n`;
  await writeFile(path.join(made, 'index.html'), page((await script('index.js')) + (await script('element.js')) + moduleTag));
}

// Rendered on a server, woken up in the page.
async function withReact(name) {
  const home = path.join(tools, name);
  const site = path.join(home, 'site');
  await rm(site, { recursive: true, force: true });
  await cp(here, site, { recursive: true });
  const server = path.join(home, 'server.mjs');
  await bundle({ entryPoints: [path.join(site, 'react-server.js')], outfile: server, platform: 'node', packages: 'external' });
  const markup = execFileSync(process.execPath, [server], { encoding: 'utf8' });
  const made = await folder(name, page(moduleTag, `<div id="root">${markup}</div>`));
  await bundle({
    entryPoints: { main: path.join(site, 'react-page.js') },
    outdir: made,
    splitting: true,
    define: { 'process.env.NODE_ENV': '"development"' },
  });
  await cp(path.join(here, '../dist/codex.wasm'), path.join(made, 'codex.wasm'));
}

await withEsbuild();
await withVite();
await withWebpack();
await plain();
await withReact('react18');
await withReact('react19');
const besides = await folder('besides');
await cp(require.resolve('axe-core/axe.min.js'), path.join(besides, 'axe.min.js'));
await bundle({
  stdin: { contents: "import * as jssip from 'jssip'; window.JsSIP = jssip.default ?? jssip;", resolveDir: tools },
  outfile: path.join(besides, 'jssip.js'),
  format: 'iife',
  minify: true,
});
