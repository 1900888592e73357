// What a client of this folder does: reads plans and prints reports, as ../python/plan.py says.

import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

// The packages are not beside these files, and ES modules know no NODE_PATH.
const require = createRequire(join(process.env.MCP_NODE_MODULES, 'here.js'));
// Servers give up connections that are unused for five seconds, Node those for four: on a busy machine both are late, and a
// request meets a closed connection. Half a second is early enough.
const DISPATCHER = Symbol.for('undici.globalDispatcher.1');
await fetch('data:,');
globalThis[DISPATCHER] = new globalThis[DISPATCHER].constructor({ keepAliveTimeout: 500, keepAliveMaxTimeout: 500 });

export const load = (name) => import(pathToFileURL(require.resolve(name)).href);

/** All pages of a list; `fetch(cursor)` gives one. */
export async function pages(key, fetch) {
  const items = [];
  let cursor;
  do {
    const page = await fetch(cursor);
    items.push(...page[key]);
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return { [key]: items };
}

async function session(open, target) {
  const log = [];
  const { protocol, perform, close } = await open(target, log);
  const answers = [];
  for (const step of target.steps) {
    log.length = 0;
    const progress = [];
    const onprogress = ({ progress: value, total, message }) => progress.push([value, total ?? null, message ?? null]);
    let answer;
    try {
      answer = { result: await perform(step, onprogress) };
    } catch (error) {
      if (typeof error.code !== 'number') throw new Error(`${target.name}: ${JSON.stringify(step)}`, { cause: error });
      answer = { error: { code: error.code, message: error.message, data: error.data } };
    }
    answers.push({ ...answer, log: [...log], progress });
  }
  await close();
  return { name: target.name, protocol, answers };
}

/** Of stdin. Node's own reader of lines ends them at U+2028, too, which is legal in JSON. */
async function* lines() {
  let rest = '';
  for await (const piece of process.stdin.setEncoding('utf8')) {
    const parts = (rest + piece).split('\n');
    rest = parts.pop();
    yield* parts;
  }
}

/** `open(target, log)` gives the session's revision, `perform(step, onprogress)` and `close()`. */
export async function main(open) {
  for await (const line of lines()) {
    for (const report of await Promise.all(JSON.parse(line).map((target) => session(open, target)))) {
      console.log(JSON.stringify(report));
    }
  }
}

/** The steps, where a client has the methods of the TypeScript SDK; `meta` goes into every call. */
export function performer(client, call, meta) {
  return async (step, onprogress) => {
    switch (step.do) {
      case 'tools':
        return pages('tools', (cursor) => client.listTools({ cursor }));
      case 'prompts':
        return pages('prompts', (cursor) => client.listPrompts({ cursor }));
      case 'resources':
        return pages('resources', (cursor) => client.listResources({ cursor }));
      case 'templates':
        return pages('resourceTemplates', (cursor) => client.listResourceTemplates({ cursor }));
      case 'call':
        return call({ name: step.name, arguments: step.arguments, ...meta }, { onprogress });
      case 'prompt':
        return client.getPrompt({ name: step.name, arguments: step.arguments });
      case 'read':
        return client.readResource({ uri: step.uri });
      case 'complete':
        return client.complete({ ref: step.ref, argument: step.argument });
    }
  };
}
