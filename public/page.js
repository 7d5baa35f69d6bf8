// Names for what Chainlit draws without one: a button that is only a picture says nothing to who cannot see it.
// The words are Chainlit's own translations, and what it has no words for comes with them (languages.py).
(() => {
  const BY_PLACE = {
    "[data-sidebar=sidebar] #sidebar-trigger-button": "threadHistory.sidebar.actions.close",
    "#sidebar-trigger-button": "threadHistory.sidebar.actions.open",
    "#search-chats-button": "threadHistory.sidebar.filters.search",
    "#new-chat-button": "navigation.newChat.button",
    "#upload-button": "chat.input.actions.attachFiles",
    "#chat-settings-open-modal": "chat.settings.title",
    "#chat-submit": "chat.input.actions.send",
    "#stop-button": "chat.input.actions.stop",
    "#chat-profiles": "parley.profile",
    "#edit-chat-input": "parley.edit",
  };
  const BY_ICON = {
    copy: "chat.messages.actions.copy.button",
    check: "chat.messages.actions.copy.success",
    "thumbs-up": "chat.messages.feedback.positive",
    "thumbs-down": "chat.messages.feedback.negative",
    "message-circle": "chat.messages.feedback.edit",
    star: "chat.favorites.headline",
    x: "common.actions.cancel",
    "rotate-ccw": "parley.again",
    info: "parley.details",
    pencil: "parley.edit",
    "share-2": "threadHistory.thread.menu.share",
    "arrow-left": "common.actions.goBack",
    "arrow-down": "parley.to_end",
  };
  // What Chainlit says in English, whatever the language.
  const BY_TEXT = { "Toggle theme": "parley.theme", Close: "parley.close" };
  const TOLD = [
    [/^Couldn't resume chat(?:: |$)/, "parley.not_opened"],
    [/^File type must be .*/s, "parley.file_kind"],
    [/^File is larger than (?=\d+ MB$)/, "parley.file_large"],
    [/^Too many files$/, "parley.files_many"],
  ];
  const language = navigator.language || "en-US";
  let words = {};

  const worded = (key) => key.split(".").reduce((found, part) => found?.[part], words);

  const nameOf = (button) => {
    const text = button.textContent.trim();
    if (text) return worded(BY_TEXT[text] ?? "");
    const icon = [...(button.querySelector("svg")?.classList ?? [])]
      .map((name) => name.replace(/^lucide-/, ""))
      .find((name) => BY_ICON[name]);
    return worded(BY_ICON[icon] ?? "");
  };

  const label = (element, said) => {
    if (!said) return;
    if (element.getAttribute("role") === "presentation") element.removeAttribute("role");
    element.setAttribute("aria-label", said);
  };

  const nameButtons = () => {
    for (const [place, key] of Object.entries(BY_PLACE)) {
      for (const one of document.querySelectorAll(`${place}:not([aria-label])`)) label(one, worded(key));
    }
    for (const button of document.querySelectorAll("button:not([aria-label])")) label(button, nameOf(button));
    for (const menu of document.querySelectorAll("#thread-options:not([role])")) {
      menu.setAttribute("role", "button");
      label(menu, worded("threadHistory.thread.menu.rename"));
    }
  };

  const nameDialogs = () => {
    for (const dialog of document.querySelectorAll("[role=dialog]:not([aria-label])")) {
      if (document.getElementById(dialog.getAttribute("aria-labelledby"))) continue;
      const title = dialog.querySelector("h2")?.textContent;
      const isPicker = dialog.id.startsWith("mode-picker");
      label(dialog, title ?? worded(isPicker ? "parley.model" : "threadHistory.sidebar.title"));
    }
  };

  const mendRoles = () => {
    // Lists whose items are wrapped are no lists to a screen reader, nor are those without any.
    const lists = "ul[data-sidebar=menu], li[data-sidebar=menu-item], ol[data-sonner-toaster]";
    for (const list of document.querySelectorAll(lists)) list.role ??= "presentation";
    for (const list of document.querySelectorAll("[cmdk-list]")) {
      list.setAttribute("role", list.querySelector("[cmdk-item]") ? "listbox" : "group");
    }
    for (const bar of document.querySelectorAll("[role=separator][aria-controls]")) {
      if (!document.getElementById(bar.getAttribute("aria-controls"))) bar.removeAttribute("aria-controls");
    }
    // Where files are dropped is no place to come to by keys: there is a button for them.
    for (const one of document.querySelectorAll("div[role=presentation][tabindex='0']")) one.tabIndex = -1;
    // A link in a button is one thing to press, not two, of which one does nothing.
    for (const link of document.querySelectorAll("button > a[href]")) {
      const { href } = link;
      link.removeAttribute("href");
      link.parentElement.setAttribute("role", "link");
      link.parentElement.addEventListener("click", () => location.assign(href));
    }
    // What is wider or higher than its place can be scrolled by keys too.
    const wide = "pre code:not([tabindex]), .katex-display:not([tabindex]), .overflow-auto:has(> table):not([tabindex])";
    const high = "[id^=mode-picker-popover] [cmdk-list]:not([tabindex])";
    for (const one of document.querySelectorAll(`${wide}, ${high}`)) one.tabIndex = 0;
  };

  const translateTold = () => {
    for (const title of document.querySelectorAll("[data-sonner-toast] [data-title]")) {
      const text = title.firstChild;
      const [said, key] = TOLD.find(([english]) => english.test(text?.data)) ?? [];
      if (said && worded(key)) text.data = text.data.replace(said, () => worded(key));
    }
  };

  const direct = () => {
    const lists = ".message-content :is(ul, ol, table):not([dir]), #thread-history .truncate:not([dir])";
    for (const one of document.querySelectorAll(lists)) one.dir = "auto";
  };

  const mend = () => {
    direct();
    nameButtons();
    nameDialogs();
    mendRoles();
    translateTold();
  };

  let asked = false;
  const mendSoon = () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      mend();
    });
  };

  // Behind an open menu nothing can be reached: Chainlit hides it from screen readers, but not from the Tab key. At
  // once, because the button that opened something gets the focus back when it is closed; by hand where it would not.
  let pressed;
  const shutOff = () => {
    const root = document.getElementById("root");
    const isBehind = root.getAttribute("aria-hidden") === "true";
    if (isBehind === root.inert) return;
    root.inert = isBehind;
    if (isBehind) return;
    setTimeout(() => {
      if (document.activeElement === document.body && pressed?.isConnected) pressed.focus();
    });
  };

  // The model that the arrow keys have reached stays in sight.
  const follow = ({ key }) => {
    if (!key.startsWith("Arrow")) return;
    const reached = "[id^=mode-picker-popover] [cmdk-item].text-accent-foreground";
    requestAnimationFrame(() => document.querySelector(reached)?.scrollIntoView({ block: "nearest" }));
  };

  const begin = async () => {
    const answer = await fetch(`/project/translations?language=${encodeURIComponent(language)}`);
    words = (await answer.json()).translation ?? {};
    if (words.parley) document.documentElement.lang = words.parley.tag;
    mend();
    const changes = new MutationObserver(() => {
      shutOff();
      mendSoon();
    });
    document.addEventListener("keydown", follow);
    document.getElementById("root").addEventListener("focusin", ({ target }) => {
      pressed = target.closest("button");
    });
    changes.observe(document.body, { childList: true, subtree: true, attributeFilter: ["aria-hidden"] });
  };

  begin();
})();

/* What is copied is what the model wrote: the page gets colons and dollars as references, so that its Markdown
   takes no text for a directive or a formula, and formulas in its renderer's form
   (parley/surfaces/page/markdown.py, maths.py). */
(() => {
  const clipboard = navigator.clipboard;
  if (!clipboard) return;
  const FORMULA = /^([ \t]*)\$\$\u2063(\[?)([=<>]?)((?:\\.|[^$]|\$(?!\$))*?)\$\$/gm;
  const asWritten = (text) =>
    text
      .replace(FORMULA, formulaAsWritten)
      .replaceAll('$$\\relax ', () => '\\[')
      .replaceAll('\\relax$$', () => '\\]')
      .replaceAll('$\\relax ', () => '\\(')
      .replaceAll('\\relax$', () => '\\)')
      .replaceAll('&#x24;', () => '$')
      .replaceAll('&#x3A;', ':');
  const writeText = clipboard.writeText.bind(clipboard);
  clipboard.writeText = (text) => writeText(asWritten(text));
  if (!clipboard.write) return;
  const write = clipboard.write.bind(clipboard);
  clipboard.write = async (items) => write(await Promise.all(items.map(mended)));

  // Lines that its dollars were given go; which those are, the signs behind the first dollars say.
  function formulaAsWritten(_, indent, bracket, sign, content) {
    const line = '\n' + indent;
    if ('=<'.includes(sign || ' ')) content = content.slice(line.length);
    if ('=>'.includes(sign || ' ')) content = content.slice(0, -line.length);
    return indent + (bracket ? '\\[' : '$$') + content + (bracket ? '\\]' : '$$');
  }

  async function mended(item) {
    const parts = {};
    for (const type of item.types) {
      const blob = await item.getType(type);
      parts[type] = type === 'text/plain' ? new Blob([asWritten(await blob.text())], { type }) : blob;
    }
    return new ClipboardItem(parts);
  }
})();

/* A picture of another host is not fetched (parley/surfaces/page/gate.py): in place of an empty frame there is a link. */
addEventListener('error', ({ target: picture }) => {
  const frame = picture instanceof HTMLImageElement && picture.closest('.message-content [class~="md:max-w-md"]');
  if (!frame || new URL(picture.src).origin === location.origin) return;
  const link = document.createElement(frame.closest('a') ? 'span' : 'a');
  link.className = 'picture-link text-primary hover:underline';
  Object.assign(link, { href: picture.src, target: '_blank', rel: 'noreferrer' });
  link.textContent = picture.alt || picture.src;
  frame.querySelector('.picture-link')?.remove();
  frame.classList.add('picture-elsewhere');
  frame.append(link);
}, { capture: true });

/* Earlier messages come above what is read, which stays where it is. */
addEventListener('click', (event) => {
  const firstShown = () => document.querySelector('[data-step-type=user_message] [id^=step-]');
  const read = event.target.closest?.('button:has(svg.lucide-history)') && firstShown();
  if (!read) return;
  const until = performance.now() + 10_000;
  let top = read.getBoundingClientRect().top;
  const keep = () => {
    const again = document.getElementById(read.id);
    const now = again?.getBoundingClientRect().top ?? top;
    if (again && firstShown() !== again) {
      let scrolled = again;
      while (scrolled && !/auto|scroll/.test(getComputedStyle(scrolled).overflowY)) scrolled = scrolled.parentElement;
      scrolled?.scrollBy({ top: now - top, behavior: 'instant' });
    } else if (performance.now() < until) {
      top = now;
      requestAnimationFrame(keep);
    }
  };
  keep();
}, { capture: true });

/* A footnote is in the same answer, where Chainlit would open a tab; and other answers have one of its name. */
addEventListener('click', (event) => {
  const link = event.target.closest?.('.message-content a[href^="#"]');
  if (!link) return;
  event.preventDefault();
  const name = decodeURIComponent(link.hash.slice(1));
  link.closest('.message-content').querySelector(`#${CSS.escape(name)}`)?.scrollIntoView({ block: 'center' });
});

/* What the page does itself of what its socket hears.
   A new chat has its thread's address from its first message on, so that a reload comes back to it. Chainlit's list
   gives it, once it was fetched and only where it is drawn: on a phone it is not. */
(() => {
  const home = new URL('..', document.currentScript.src).pathname;
  let chat = {}; // the chat that is shown; `thread` is its thread, once it has begun one here

  const tellRouter = (path) => {
    // The page has taken what it heard by then: else it would open its own thread anew.
    if (location.pathname === path) dispatchEvent(new PopStateEvent('popstate', { state: history.state }));
  };

  const begun = ({ thread_id: thread }) => {
    if (location.pathname !== home) return;
    chat.thread = thread;
    const path = `${home}thread/${chat.thread}`;
    history.replaceState(history.state, '', path);
    requestAnimationFrame(() => requestAnimationFrame(() => tellRouter(path)));
  };

  const HEARD = {
    first_interaction: begun,
    new_chat: () => document.getElementById('new-chat-button')?.click(),
    runs: ({ turn_id: turn }) => {
      chat.turn = turn;
    },
    taken: ({ id, is_refused: isRefused }) => {
      const text = untaken.get(id)?.said.message.output;
      untaken.delete(id);
      if (isRefused) putBack(text);
    },
    // While a thread is opened there is no input. Else it was open, and is lost: Chainlit's page would say nothing.
    resume_thread_error: () => {
      if (location.pathname !== home && document.getElementById('chat-input')) location.reload();
    },
  };
  const EVENT = /^42\["(\w+)"/; // as Socket.IO writes one
  const hear = ({ data }) => {
    const name = EVENT.exec(data)?.[1];
    if (Object.hasOwn(HEARD, name)) HEARD[name](JSON.parse(data.slice(2))[1]);
  };

  /* Chainlit's page waits for no answer to what it sends: a message into a connection that is dead, and not known to
     be, would be lost. Each is kept until the server says that it has it, and sent again by the next connection of its
     session; the server takes it once. What was refused, or was left behind by a new chat, is in the input again. */
  const untaken = new Map(); // by the message's id

  const putBack = (text, frames = 60) => {
    const input = document.getElementById('chat-input');
    if (!input && frames) requestAnimationFrame(() => putBack(text, frames - 1));
    if (!text || !input || input.value) return;
    Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, 'value').set.call(input, text);
    input.dispatchEvent(new Event('input', { bubbles: true }));
  };

  const LATE_MS = 2000;
  addEventListener('beforeunload', (event) => {
    const isLate = ({ at }) => performance.now() - at > LATE_MS;
    if ([...untaken.values()].some(isLate)) event.preventDefault();
  });

  /* The server says in `ready` how long a message may be. One that is longer it is told of, and not sent: the socket
     would be closed for such a frame, again and again, and nobody would be told why. */
  const sizeOf = (text) => new TextEncoder().encode(text).length;
  const framed = (said, mostBytes) => {
    const bytes = sizeOf(said.message.output);
    const sent = bytes > mostBytes ? { ...said, message: { ...said.message, output: '' }, bytes } : said;
    return '42' + JSON.stringify(['client_message', sent]);
  };

  /* Frames that wait are handed over together. Chainlit draws the page anew after each task in which one came, and a
     thread that opens brings a hundred: drawn once and not as often, it is there a fifth of a second sooner. */
  window.WebSocket = class extends WebSocket {
    #session;
    #isReady = false; // what is sent before its thread was shown, would not be shown in it
    #mostBytes;

    send(frame) {
      const name = EVENT.exec(frame)?.[1];
      if (String(frame).startsWith('40{')) this.#session = JSON.parse(frame.slice(2)).sessionId;
      // What runs next has no name yet. A Stop names what ran when it was pressed: it may come late.
      if (name === 'client_message' || name === 'edit_message') chat.turn = undefined;
      if (name === 'stop' && chat.turn) {
        super.send('42' + JSON.stringify(['stop', { turn_id: chat.turn }]));
      } else if (name !== 'client_message') {
        super.send(frame);
      } else {
        const [, said] = JSON.parse(frame.slice(2));
        const via = this.#isReady ? this : null;
        untaken.set(said.message.id, { said, via, session: this.#session, at: performance.now() });
        if (this.#isReady) super.send(framed(said, this.#mostBytes));
      }
    }

    #sendAgain(mostBytes) {
      this.#isReady = true;
      this.#mostBytes = mostBytes;
      for (const [id, one] of untaken) {
        if (one.session !== this.#session) {
          untaken.delete(id);
          putBack(one.said.message.output);
        } else if (one.via !== this) {
          one.via = this;
          super.send(framed({ ...one.said, again: true }, mostBytes));
        }
      }
    }

    set onmessage(handler) {
      let itsChat;
      const waiting = [];
      const { port1: later, port2: bell } = new MessageChannel();
      const take = (taker, event) => {
        try {
          taker.call(this, event);
        } catch (error) {
          reportError(error);
        }
      };
      const handOver = () => {
        for (const event of waiting.splice(0)) {
          take(handler, event);
          const name = EVENT.exec(event.data)?.[1];
          if (name === 'ready') this.#sendAgain(JSON.parse(event.data.slice(2))[1].most_bytes);
          if (name === 'taken' || itsChat === chat) take(hear, event);
        }
      };
      later.onmessage = handOver;
      this.addEventListener('open', () => {
        itsChat = chat;
      });
      this.addEventListener('close', handOver);
      super.onmessage = (event) => {
        if (waiting.push(event) === 1) bell.postMessage(null);
      };
    }
  };

  const leave = (event) => {
    if (!event.target.closest?.('#new-chat-button')) return;
    const list = document.getElementById('thread-history');
    const isListed = !chat.thread || !list || document.getElementById(`thread-${chat.thread}`);
    chat = {};
    if (isListed) return;
    // The list is still being fetched, and would lead back to the old thread when it is there.
    event.stopPropagation();
    location.assign(home);
  };
  document.addEventListener('click', leave, { capture: true });
})();

/* Answers that the page takes as they come, and must not. */
(() => {
  const { fetch } = window;
  const latest = new Map(); // by what was asked
  let before = Promise.resolve();
  let user; // the last that was heard of who is signed in

  const sameAsLatest = async (asked, question) => {
    const response = await asked;
    const later = latest.get(question);
    if (later === asked) return response.clone();
    return sameAsLatest(later, question).catch(() => response);
  };

  const whole = async (asked) => (await asked).clone().arrayBuffer();

  const RULES = {
    // The page keeps what comes last of its list of threads, and where two ask for it, an answer from before the first
    // message may come after one from behind it. Whoever asked earlier gets what the latest question was answered.
    '/project/threads': (asked, question) => {
      latest.set(question, asked);
      return sameAsLatest(asked, question);
    },
    // A thread is opened by two connections, each made when a cookie was given for it. Only the second names the thread,
    // and the one that is made last stays: cookies are handed over in the order in which they were asked for, or the
    // page would wait for its thread forever.
    '/set-session-cookie': (asked) => {
      before = Promise.allSettled([before, whole(asked)]).then(() => asked);
      return before;
    },
    // Where this fails, Chainlit's page goes to the sign-in: also where only the network is away, or the server fails.
    '/user': async (asked) => {
      const response = await asked.catch(() => undefined);
      if (!response || response.status >= 500) return user?.clone() ?? asked;
      user = response.clone();
      return response;
    },
  };

  window.fetch = (input, init) => {
    const asked = fetch(input, init);
    const url = String(input.url ?? input);
    const path = Object.keys(RULES).find((end) => url.endsWith(end));
    return path ? RULES[path](asked, String(init?.body)) : asked;
  };
})();
