// What a site's own script does with the package.
import * as codex from '@codex/web-widget';
import '@codex/web-widget/element';

window.codex = codex;
window.addEventListener('error', (event) => (document.title = `broken: ${event.message}`));
document.body.append(document.createElement('codex-voice-widget'));
