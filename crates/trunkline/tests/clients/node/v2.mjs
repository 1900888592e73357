// The TypeScript SDK, 2.x. `mode`: `auto` asks for the modern protocol first, `legacy` does not.

import { load, main, performer } from './plan.mjs';

const { Client, StreamableHTTPClientTransport, LOG_LEVEL_META_KEY } = await load('@modelcontextprotocol/client');

await main(async (target, log) => {
  const client = new Client({ name: 'test', version: '1' }, { versionNegotiation: { mode: target.mode } });
  client.setNotificationHandler('notifications/message', ({ params }) => {
    log.push(params.data);
  });
  const { headers } = target;
  const transport = new StreamableHTTPClientTransport(new URL(target.url), { requestInit: { headers } });
  await client.connect(transport);
  const protocol = client.getNegotiatedProtocolVersion();
  // In this revision log messages are asked for with every request.
  const meta = protocol === '2026-07-28' ? { _meta: { [LOG_LEVEL_META_KEY]: 'debug' } } : {};
  return {
    protocol,
    perform: performer(client, (params, options) => client.callTool(params, options), meta),
    close: () => client.close(),
  };
});
