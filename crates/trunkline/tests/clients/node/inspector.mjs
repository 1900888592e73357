// The Inspector's command line: every step is a run of it, as people have it in scripts. `mode` has no meaning here.
//
// It knows no completion, and shows neither progress nor log messages.

import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';

import { main } from './plan.mjs';

const inspector = join(process.env.MCP_NODE_MODULES, '@modelcontextprotocol/inspector/clients/launcher/build/index.js');
const LISTS = {
  tools: 'tools/list',
  prompts: 'prompts/list',
  resources: 'resources/list',
  templates: 'resources/templates/list',
};

const pairs = (option, values) => {
  const given = Object.entries(values).map(
    ([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  return given.length > 0 ? [option, ...given] : [];
};

function options(step) {
  switch (step.do) {
    case 'call':
      return ['--method', 'tools/call', '--tool-name', step.name, ...pairs('--tool-arg', step.arguments)];
    case 'prompt':
      return ['--method', 'prompts/get', '--prompt-name', step.name, ...pairs('--prompt-args', step.arguments)];
    case 'read':
      return ['--method', 'resources/read', '--uri', step.uri];
    default:
      return ['--method', LISTS[step.do]];
  }
}

async function run({ url, headers }, home, step) {
  const sent = Object.entries(headers).flatMap(([name, value]) => ['--header', `${name}: ${value}`]);
  const args = [inspector, '--cli', url, '--transport', 'http', ...sent, ...options(step)];
  const child = spawn(process.execPath, args, { env: { ...process.env, HOME: home }, stdio: ['ignore', 'pipe', 'pipe'] });
  const [printed, errors] = await Promise.all([text(child.stdout), text(child.stderr)]);
  if (printed.trim() === '') throw new Error(`${step.do}: ${errors}`);
  return JSON.parse(printed);
}

await main(async (target) => {
  const home = await mkdtemp(join(tmpdir(), 'inspector-'));
  return {
    protocol: '2025-11-25',
    perform: (step) => run(target, home, step),
    close: () => rm(home, { recursive: true }),
  };
});
