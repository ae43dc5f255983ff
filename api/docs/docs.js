'use strict';
// Shows openapi.json, which lies beside this page. Text only ever enters the page
// as text.
const base = location.pathname.replace(/\/docs\/?$/, '');
const $ = id => document.getElementById(id);

// el makes an element: el('a', {href: '#x'}, 'text', child).
function el(tag, props, ...inside) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(props || {})) {
    if (k.startsWith('on')) e.addEventListener(k.slice(2), v);
    else if (v !== undefined && v !== false) e.setAttribute(k, v === true ? '' : v);
  }
  e.append(...inside.flat(9).filter(x => x !== null && x !== undefined && x !== false));
  return e;
}

let spec;
const follow = s => {
  for (let n = 0; s && s.$ref && n < 20; n++) s = spec.components.schemas[s.$ref.split('/').pop()];
  return s || {};
};
const typeOf = s => {
  const t = follow(s);
  if (t.anyOf || t.oneOf) return 'one of ' + (t.anyOf || t.oneOf).length;
  if (t.items) return 'list of ' + typeOf(t.items);
  if (t.additionalProperties && t.additionalProperties !== true) return 'map to ' + typeOf(t.additionalProperties);
  const name = Array.isArray(t.type) ? t.type.join(' or ') : t.type || 'any';
  return t.format && !/^int|double|float/.test(t.format) ? name + ', ' + t.format : name;
};

// bounds says in words what a schema allows.
function bounds(s) {
  const t = follow(s), out = [];
  if (t.enum) out.push('one of ' + t.enum.join(', '));
  if (t.minLength !== undefined || t.maxLength !== undefined) out.push(range(t.minLength ?? 0, t.maxLength) + ' characters');
  if (t.minimum !== undefined || t.maximum !== undefined) out.push(range(t.minimum, t.maximum));
  if (t.exclusiveMinimum !== undefined) out.push('above ' + t.exclusiveMinimum);
  if (t.exclusiveMaximum !== undefined) out.push('below ' + t.exclusiveMaximum);
  if (t.minItems !== undefined || t.maxItems !== undefined) out.push(range(t.minItems ?? 0, t.maxItems) + ' items');
  if (t.pattern) out.push('matches ' + t.pattern);
  if (t.default !== undefined) out.push('default ' + JSON.stringify(t.default));
  return out.join('; ');
}
const range = (a, b) => a === undefined ? 'at most ' + b : b === undefined ? 'at least ' + a : a + ' to ' + b;

// tree shows a schema's members.
function tree(s, depth = 0) {
  const t = follow(s);
  if (t.items) return tree(t.items, depth);
  if (t.anyOf || t.oneOf) {
    return el('ul', null, (t.anyOf || t.oneOf).map(o =>
      el('li', null, el('code', null, (o.$ref || '').split('/').pop() || typeOf(o)), depth < 5 && tree(o, depth + 1))));
  }
  const names = Object.keys(t.properties || {});
  if (!names.length || depth > 5) return null;
  return el('ul', null, names.map(n => {
    const p = t.properties[n], must = (t.required || []).includes(n);
    const said = [p.description || follow(p).description, bounds(p)].filter(Boolean).join(' · ');
    return el('li', null, el('code', null, n), must && el('span', {class: 'must', title: 'required'}, ' *'), ' ',
      el('span', {class: 't'}, typeOf(p), said && ' · ' + said), tree(p, depth + 1));
  }));
}

// example makes a value that fits a schema.
function example(s, depth = 0) {
  const t = follow(s);
  if (t.examples) return t.examples[0];
  if (t.default !== undefined) return t.default;
  if (t.enum) return t.enum[0];
  if (depth > 5) return null;
  if (t.anyOf || t.oneOf) return example((t.anyOf || t.oneOf)[0], depth + 1);
  if (t.items) return [example(t.items, depth + 1)];
  if (t.properties) {
    return Object.fromEntries(Object.keys(t.properties).map(n => [n, example(t.properties[n], depth + 1)]));
  }
  switch (Array.isArray(t.type) ? t.type[0] : t.type) {
    case 'integer': case 'number': return t.minimum ?? 1;
    case 'boolean': return true;
    case 'object': return {};
    case 'string': return {'date-time': '2026-01-02T15:04:05Z', date: '2026-01-02',
      uuid: '018f3c2e-7b1a-7c3d-9e4f-0123456789ab'}[t.format] || 'text';
  }
  return null;
}

const bodyOf = op => op.requestBody && op.requestBody.content['application/json'].schema;

// request is what values ask for: url, headers, body.
function request(op, values, body) {
  let url = base + op.path;
  const query = new URLSearchParams(), headers = {};
  for (const p of op.parameters || []) {
    const v = values[p.in + '.' + p.name];
    if (p.in === 'path') url = url.replace('{' + p.name + '}', v ? encodeURIComponent(v) : '{' + p.name + '}');
    else if (v && p.in === 'query') query.append(p.name, v);
    else if (v) headers[p.name] = v;
  }
  if (body) headers['Content-Type'] = 'application/json';
  return {url: url + (query.size ? '?' + query : ''), headers, body: body || undefined};
}

const quoted = s => "'" + s.replace(/'/g, "'\\''") + "'";
function curl(op, values, body) {
  const r = request(op, values, body), line = ['curl -i'];
  if (op.method !== 'get') line.push('-X ' + op.method.toUpperCase());
  for (const h in r.headers) line.push('-H ' + quoted(h + ': ' + r.headers[h]));
  if (r.body) line.push('-d ' + quoted(r.body));
  line.push(quoted(location.origin + r.url));
  return line.join(' \\\n  ');
}

function sample(op) {
  const v = {};
  for (const p of op.parameters || []) {
    if (p.required) v[p.in + '.' + p.name] = p.in === 'header' ? 'ann' : op.tags[0] === 'views' ? 'some-' + p.name : 'my-' + op.tags[0];
    if (p.name === 'q') v['query.q'] = 'words';
  }
  return v;
}

function params(op) {
  if (!(op.parameters || []).length) return null;
  return el('div', null, el('h3', null, 'Parameters'), el('table', null, el('tbody', null, op.parameters.map(p =>
    el('tr', null,
      el('td', null, el('code', null, p.name), p.required && el('span', {class: 'must', title: 'required'}, ' *'), el('small', null, p.in)),
      el('td', null, p.description || '', el('small', null, [typeOf(p.schema), bounds(p.schema)].filter(Boolean).join('; '))))))));
}

function answers(op) {
  return el('div', null, el('h3', null, 'Answers'), el('table', null, el('tbody', null,
    Object.entries(op.responses).map(([status, r]) => el('tr', null,
      el('td', null, el('span', {class: status < 400 ? 'good' : 'bad'}, status),
        el('small', null, Object.keys(r.headers || {}).join(', '))),
      el('td', null, el('span', {class: 'note'}, r.description)))))));
}

function copier(text) {
  return el('button', {class: 'plain', type: 'button', onclick: async e => {
    await navigator.clipboard.writeText(text());
    e.target.textContent = 'Copied';
    setTimeout(() => { e.target.textContent = 'Copy'; }, 1500);
  }}, 'Copy');
}

// tryIt is a form that sends the request and shows the answer.
function tryIt(op, shown) {
  const schema = bodyOf(op), first = sample(op), fields = {};
  const out = el('pre', {hidden: true, 'aria-live': 'polite'}), state = el('span');
  const area = schema && el('textarea', {'aria-label': 'Body', spellcheck: 'false'});
  if (area) area.value = JSON.stringify(example(schema), null, 2);
  const values = () => Object.fromEntries(Object.entries(fields).map(([k, f]) => [k, f.value]));
  const update = () => { shown.textContent = curl(op, values(), area && area.value.trim()); };
  const rows = (op.parameters || []).map(p => {
    const f = el('input', {name: p.name, required: p.required, autocomplete: 'off'});
    f.value = first[p.in + '.' + p.name] || '';
    fields[p.in + '.' + p.name] = f;
    return el('label', null, el('code', null, p.name), f);
  });
  update();
  return el('form', {oninput: update, onsubmit: async e => {
    e.preventDefault();
    const r = request(op, values(), area && area.value.trim());
    out.hidden = false; out.textContent = '…'; state.textContent = ''; state.className = '';
    const began = performance.now();
    try {
      const res = await fetch(r.url, {method: op.method.toUpperCase(), headers: r.headers, body: r.body, cache: 'no-store'});
      const text = await res.text();
      state.className = res.ok ? 'good' : 'bad';
      state.textContent = `${res.status} ${res.statusText} in ${Math.round(performance.now() - began)} ms`;
      let body = text;
      try { body = JSON.stringify(JSON.parse(text), null, 2); } catch { /* shown as it came */ }
      const kept = ['etag', 'position', 'generation', 'retry-after', 'x-request-id'].filter(h => res.headers.has(h));
      out.textContent = kept.map(h => h + ': ' + res.headers.get(h)).join('\n') + '\n\n' + body;
    } catch (err) {
      state.className = 'bad'; state.textContent = String(err); out.hidden = true;
    }
  }}, rows, area && el('label', null, el('code', null, 'body'), area),
  el('div', {class: 'row'}, el('button', {type: 'submit'}, 'Send'), state), out);
}

function inside(op) {
  const shown = el('pre'), schema = bodyOf(op), good = Object.values(op.responses)[0]; // the lowest status
  const form = tryIt(op, shown), back = good.content?.['application/json']?.schema;
  return el('div', {class: 'inside'},
    op.description && el('p', {class: 'about'}, op.description), params(op),
    el('div', {class: 'pair'},
      schema && el('div', {class: 'schema'}, el('h3', null, 'Body'), tree(schema)),
      back && el('div', {class: 'schema'}, el('h3', null, 'Answer'), tree(back))),
    el('div', null, el('div', {class: 'head'}, el('h3', null, 'With curl'), copier(() => shown.textContent)), shown),
    el('div', null, el('h3', null, 'Try it'), form), answers(op));
}

function operation(op) {
  const card = el('details', {class: 'op', id: op.operationId},
    el('summary', null, el('span', {class: 'verb ' + op.method}, op.method.toUpperCase()),
      el('span', {class: 'path'}, op.path.split(/(\{\w+\})/).map(x => x.startsWith('{') ? el('i', null, x) : x)),
      el('span', {class: 'what'}, op.summary)));
  card.addEventListener('toggle', () => { if (card.open && card.children.length === 1) card.append(inside(op)); });
  return card;
}

function problems(list) {
  return el('section', {id: 'problems'}, el('h2', null, 'Problems'), el('table', null, el('tbody', null, list.map(p =>
    el('tr', null, el('td', null, el('code', null, p.type.split('/').pop()), el('small', null, p.status + ' ' + p.title)),
      el('td', null, p.about))))));
}

// filter shows the operations that have all words.
function filter(ops, text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  for (const op of ops) {
    const all = (op.method + ' ' + op.path + ' ' + op.summary).toLowerCase();
    op.link.hidden = op.card.hidden = !words.every(w => all.includes(w));
  }
  for (const g of document.querySelectorAll('section.group')) g.hidden = !g.querySelector('.op:not([hidden])');
}

function open() {
  const card = $(decodeURIComponent(location.hash.slice(1)));
  if (!card) return;
  if (card.matches('.op')) card.open = true;
  card.scrollIntoView();
}

// inOrder puts what reads before what writes: of an aggregate its state, its
// events, then its commands.
const inOrder = (a, b) => (a.method !== 'get') - (b.method !== 'get') || a.path.localeCompare(b.path);

function show() {
  const ops = Object.entries(spec.paths).flatMap(([path, item]) =>
    ['post', 'get', 'delete'].filter(m => item[m]).map(method => ({path, method, ...item[method]}))).sort(inOrder);
  const tags = [...new Set(ops.map(o => o.tags[0]))].sort((a, b) => (a === 'views') - (b === 'views') || a.localeCompare(b));
  document.title = $('title').textContent = spec.info.title;
  $('version').textContent = 'version ' + spec.info.version;
  $('about').textContent = spec.info.description;
  $('groups').replaceChildren();
  for (const tag of tags) {
    const group = el('section', {class: 'group', id: 'group-' + tag}, el('h2', null, tag));
    $('nav').append(el('h2', null, tag));
    for (const op of ops.filter(o => o.tags[0] === tag)) {
      op.card = operation(op);
      op.link = el('a', {href: '#' + op.operationId, title: op.summary}, op.summary);
      group.append(op.card);
      $('nav').append(op.link);
    }
    $('groups').append(group);
  }
  $('groups').append(problems(spec['x-problems'] || []));
  $('nav').append(el('h2', null, 'more'), el('a', {href: '#problems'}, 'Problems'));
  $('filter').addEventListener('input', e => filter(ops, e.target.value));
  addEventListener('hashchange', open);
  open();
}

fetch('openapi.json').then(r => r.json()).then(s => { spec = s; show(); }).catch(err => {
  $('groups').replaceChildren(el('p', {class: 'bad'}, 'openapi.json cannot be read: ' + err));
});
