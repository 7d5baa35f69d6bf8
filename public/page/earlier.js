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
