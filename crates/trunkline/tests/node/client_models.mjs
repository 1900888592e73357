// OpenAI's SDK and Anthropic's for TypeScript, which play the plan of `python/client_models.py`: JSON on stdin. Prints what came of each step,
// one JSON list. The packages are in MODULES.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const find = createRequire(join(process.env.MODULES, 'package.json'));
const load = async (name) => import(pathToFileURL(find.resolve(name)));
const { default: OpenAI } = await load('openai');
const { default: Anthropic } = await load('@anthropic-ai/sdk');

const plan = JSON.parse(readFileSync(0, 'utf8'));
const SCHEMA = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const WEATHER = { name: 'weather', description: 'How is it?' };
const weather = ({ city }) => `rain in ${city}`;

/** OpenAI's dialect. */
class Chat {
  tool = { type: 'function', function: { ...WEATHER, parameters: SCHEMA } };

  constructor(url, key) {
    this.client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
  }

  /** What the model said. What was seen of a stream so far is in `seen`. */
  async turn(step, turns, tools, seen) {
    const asked = { model: step.model, messages: turns, ...tools };
    let answer;
    if (step.stream) {
      const pieces = this.client.chat.completions.stream({ ...asked, stream_options: { include_usage: true } });
      for await (const piece of pieces) {
        seen.text = (seen.text ?? '') + (piece.choices[0]?.delta.content ?? '');
        if (seen.text && step.ask === 'babble') {
          pieces.abort();
          return { outcome: { left: true } };
        }
      }
      answer = await pieces.finalChatCompletion();
    } else {
      answer = await this.client.chat.completions.create(asked);
    }
    const { message, finish_reason: end } = answer.choices[0];
    const took = answer.usage ? [answer.usage.prompt_tokens, answer.usage.completion_tokens] : null;
    const calls = (message.tool_calls ?? []).map((call) => [call.id, call.function.name, JSON.parse(call.function.arguments)]);
    const { role, content, tool_calls } = message;
    const said = { role, content, ...(calls.length ? { tool_calls: tool_calls.map(plain) } : {}) };
    const outcome = { text: content ?? '', model: answer.model, end, usage: took };
    return { outcome, said: [said], calls };
  }

  results(results) {
    return results.map(([id, content]) => ({ role: 'tool', tool_call_id: id, content }));
  }
}

/** A call as a request has it: the SDK's stream adds what was parsed. */
const plain = ({ id, type, function: { name, arguments: text } }) => ({ id, type, function: { name, arguments: text } });

/** Anthropic's. */
class Messages {
  tool = { ...WEATHER, input_schema: SCHEMA };

  constructor(url, key) {
    this.client = new Anthropic({ baseURL: url, apiKey: key, maxRetries: 0 });
  }

  async turn(step, turns, tools, seen) {
    const asked = { model: step.model, max_tokens: 100, messages: turns, ...tools };
    let message;
    if (step.stream) {
      const pieces = this.client.messages.stream(asked);
      for await (const event of pieces) {
        if (event.type === 'content_block_delta' && event.delta.type === 'text_delta') {
          seen.text = (seen.text ?? '') + event.delta.text;
          if (step.ask === 'babble') {
            pieces.abort();
            return { outcome: { left: true } };
          }
        }
      }
      message = await pieces.finalMessage();
    } else {
      message = await this.client.messages.create(asked);
    }
    const calls = message.content.filter(({ type }) => type === 'tool_use').map(({ id, name, input }) => [id, name, input]);
    const texts = message.content.filter(({ type }) => type === 'text').map(({ text }) => text);
    const { input_tokens, output_tokens } = message.usage;
    const outcome = { text: texts.join(''), model: message.model, end: message.stop_reason, usage: [input_tokens, output_tokens] };
    return { outcome, said: [{ role: 'assistant', content: message.content }], calls };
  }

  results(results) {
    const blocks = results.map(([id, content]) => ({ type: 'tool_result', tool_use_id: id, content }));
    return [{ role: 'user', content: blocks }];
  }
}

/** OpenAI's newer one. */
class Responses {
  tool = { type: 'function', ...WEATHER, parameters: SCHEMA, strict: false };

  constructor(url, key) {
    this.client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
  }

  async turn(step, turns, tools, seen) {
    const asked = { model: step.model, input: turns, store: false, ...tools };
    let answer;
    if (step.stream) {
      const pieces = await this.client.responses.create({ ...asked, stream: true });
      for await (const event of pieces) {
        if (event.type === 'response.output_text.delta') {
          seen.text = (seen.text ?? '') + event.delta;
          if (step.ask === 'babble') {
            pieces.controller.abort();
            return { outcome: { left: true } };
          }
        }
        if (event.type === 'error') {
          // No exception: the SDK hands the event on.
          return { outcome: { error: 'event', status: null, type: event.code, text: seen.text } };
        }
        if (event.type === 'response.completed') answer = event.response;
      }
    } else {
      answer = await this.client.responses.create(asked);
    }
    const calls = answer.output.filter(({ type }) => type === 'function_call');
    const texts = answer.output.flatMap(({ content }) => content ?? []).map(({ text }) => text ?? '');
    const took = answer.usage ? [answer.usage.input_tokens, answer.usage.output_tokens] : null;
    return {
      outcome: { text: texts.join(''), model: answer.model, end: answer.status, usage: took },
      said: answer.output,
      calls: calls.map((item) => [item.call_id, item.name, JSON.parse(item.arguments)]),
    };
  }

  results(results) {
    return results.map(([id, output]) => ({ type: 'function_call_output', call_id: id, output }));
  }
}

/** Vectors, in the form that the SDK asks for on its own. */
class Embeddings {
  constructor(url, key) {
    this.client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
  }

  async turn(step) {
    const { data, model } = await this.client.embeddings.create({ model: step.model, input: 'text' });
    return { outcome: { vector: Array.from(data[0].embedding), model } };
  }
}

const DIALECTS = { chat: Chat, messages: Messages, responses: Responses, embeddings: Embeddings };

async function play(step) {
  const client = new DIALECTS[step.dialect](plan.url, step.key ?? plan.key);
  const tools = ['call', 'calls'].includes(step.ask) ? { tools: [client.tool] } : {};
  const turns = [{ role: 'user', content: step.ask }];
  const seen = {};
  try {
    const { outcome, said, calls } = await client.turn(step, turns, tools, seen);
    if (!calls?.length) return outcome;
    const results = calls.map(([id, , input]) => [id, weather(input)]);
    const { outcome: then } = await client.turn(step, [...turns, ...said, ...client.results(results)], tools, seen);
    return { ...outcome, calls: calls.map(([, name, input]) => [name, input]), then: [then.text, then.end] };
  } catch (error) {
    if (!(error instanceof OpenAI.APIError || error instanceof Anthropic.APIError)) throw error;
    return { ...failure(error), ...(seen.text ? { text: seen.text } : {}) };
  }
}

function failure(error) {
  const status = error.status ?? null;
  const body = error.error?.error ?? error.error;
  const said = { error: error.constructor.name, status, type: body?.type ?? null };
  return status === 429 ? { ...said, retry_after: error.headers.get('retry-after') } : said;
}

const outcomes = [];
for (const step of plan.steps) outcomes.push(await play(step));
console.log(JSON.stringify(outcomes));
