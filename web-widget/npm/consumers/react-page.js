import { StrictMode, createElement } from 'react';
import { hydrateRoot } from 'react-dom/client';
import { App, CONFIG } from './react-app.js';

window.problems = [];
hydrateRoot(document.getElementById('root'), createElement(StrictMode, null, createElement(App, { config: CONFIG })), {
  onRecoverableError: (error) => window.problems.push(String(error)),
});
