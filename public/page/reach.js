/* What can be reached, by keys and by a screen reader. */

export const mendRoles = () => {
  // Lists whose items are wrapped are no lists to a screen reader, nor are those without any.
  const lists = 'ul[data-sidebar=menu], li[data-sidebar=menu-item], ol[data-sonner-toaster]';
  for (const list of document.querySelectorAll(lists)) list.role ??= 'presentation';
  for (const list of document.querySelectorAll('[cmdk-list]')) {
    list.setAttribute('role', list.querySelector('[cmdk-item]') ? 'listbox' : 'group');
  }
  for (const bar of document.querySelectorAll('[role=separator][aria-controls]')) {
    if (!document.getElementById(bar.getAttribute('aria-controls'))) bar.removeAttribute('aria-controls');
  }
  // Where files are dropped is no place to come to by keys: there is a button for them.
  for (const one of document.querySelectorAll('div[role=presentation][tabindex="0"]')) one.tabIndex = -1;
  // A link in a button is one thing to press, not two, of which one does nothing.
  for (const link of document.querySelectorAll('button > a[href]')) {
    const { href } = link;
    link.removeAttribute('href');
    link.parentElement.setAttribute('role', 'link');
    link.parentElement.addEventListener('click', () => location.assign(href));
  }
  // What is wider or higher than its place can be scrolled by keys too.
  const wide = 'pre code:not([tabindex]), .katex-display:not([tabindex]), .overflow-auto:has(> table):not([tabindex])';
  const high = '[id^=mode-picker-popover] [cmdk-list]:not([tabindex])';
  for (const one of document.querySelectorAll(`${wide}, ${high}`)) one.tabIndex = 0;
};

// Each of its own direction: one answer may have text of both.
export const direct = () => {
  const lists = '.message-content :is(ul, ol, table):not([dir]), #thread-history .truncate:not([dir])';
  for (const one of document.querySelectorAll(lists)) one.dir = 'auto';
};

// Behind an open menu nothing can be reached: Chainlit hides it from screen readers, but not from the Tab key. At
// once, because the button that opened something gets the focus back when it is closed; by hand where it would not.
let pressed;
export const shutOff = () => {
  const root = document.getElementById('root');
  const isBehind = root.getAttribute('aria-hidden') === 'true';
  if (isBehind === root.inert) return;
  root.inert = isBehind;
  if (isBehind) return;
  setTimeout(() => {
    if (document.activeElement === document.body && pressed?.isConnected) pressed.focus();
  });
};

// The model that the arrow keys have reached stays in sight.
const follow = ({ key }) => {
  if (!key.startsWith('Arrow')) return;
  const reached = '[id^=mode-picker-popover] [cmdk-item].text-accent-foreground';
  requestAnimationFrame(() => document.querySelector(reached)?.scrollIntoView({ block: 'nearest' }));
};

addEventListener('keydown', follow);
addEventListener('focusin', ({ target }) => {
  if (target.closest?.('#root')) pressed = target.closest('button');
});
