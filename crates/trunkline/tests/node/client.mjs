// The TypeScript SDK, 1.x: does and prints what ../python/report.py says.
//
//     node client.mjs MODE PREFIX=URL…    MODE `sse`: the transport of 2024-11-05; MCP_BEARER as there; MCP_NODE_MODULES: the packages

import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

// The packages are not beside this file, and ES modules know no NODE_PATH.
const require = createRequire(join(process.env.MCP_NODE_MODULES, 'here.js'));
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const { Client } = await load('@modelcontextprotocol/sdk/client/index.js');
const { StreamableHTTPClientTransport } = await load('@modelcontextprotocol/sdk/client/streamableHttp.js');
const { SSEClientTransport } = await load('@modelcontextprotocol/sdk/client/sse.js');
const { LoggingMessageNotificationSchema } = await load('@modelcontextprotocol/sdk/types.js');

const text = (result) => result.content.map((block) => block.text).join('');

async function report(mode, prefix, url) {
  const client = new Client({ name: 'test', version: '1' });
  const log = [];
  client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => {
    log.push(params.data);
  });
  const headers = { Authorization: `Bearer ${process.env.MCP_BEARER}` };
  const Transport = mode === 'sse' ? SSEClientTransport : StreamableHTTPClientTransport;
  const transport = new Transport(new URL(url), { requestInit: { headers } });
  await client.connect(transport);

  const tools = [];
  let cursor;
  do {
    const page = await client.listTools({ cursor });
    tools.push(...page.tools.map((tool) => tool.name));
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  if (!tools.every((name) => name.startsWith(prefix))) throw new Error(`not all begin with ${prefix}: ${tools}`);

  const call = (name, args, options) => client.callTool({ name: prefix + name, arguments: args }, undefined, options);
  const echo = await call('echo', { message: 'héllo' });
  const progress = [];
  const began = performance.now();
  const since = () => Math.round(performance.now() - began);
  const onprogress = ({ progress: value, total, message }) =>
    progress.push({ at_ms: since(), progress: value, total: total ?? null, message: message ?? null });
  const slow = await call('slow', { ms: 900, steps: 3 }, { onprogress });
  const ms = since();
  const fail = await call('fail', {});
  await call('create_mirror', { name: 'm', source_url: 'https://example.com/m.git' });
  await call('sync_mirror', { name: 'm' });

  const seen = {
    protocol: transport.protocolVersion ?? transport._protocolVersion,
    tools: tools.map((name) => name.slice(prefix.length)),
    echo: text(echo),
    fail: { is_error: fail.isError === true, text: text(fail) },
    slow: { text: text(slow), ms, progress },
    log,
  };
  await client.close();
  return seen;
}

const targets = process.argv.slice(3).map((target) => {
  const at = target.indexOf('=');
  return report(process.argv[2], target.slice(0, at), target.slice(at + 1));
});
for (const seen of await Promise.all(targets)) console.log(JSON.stringify(seen));
