// Small things both pages do with the document.

export function find(id) {
  return document.getElementById(id);
}

// An element with its text and attributes; text is never taken for HTML.
export function make(name, { text = "", ...attributes } = {}, ...children) {
  const element = document.createElement(name);
  if (text) {
    element.textContent = text;
  }
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) {
      element.setAttribute(key === "className" ? "class" : key, value === true ? "" : value);
    }
  }
  element.append(...children);
  return element;
}

// Changes only what differs: a live region speaks when its text is set, even to the same words.
export function write(element, text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

export function showLight(state, text) {
  const light = find("light");
  light.dataset.state = state;
  write(find("light-text"), text);
}

// Of a scrolling list: follows its end unless the reader has scrolled up.
export function followEnd(list, change) {
  const wasAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  change();
  if (wasAtEnd) {
    list.scrollTop = list.scrollHeight;
  }
}

export function seconds(ms) {
  return ms === null || ms === undefined ? "–" : `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 0)} s`;
}

// The field in which a user brings a token; `use` is called when there is one.
export function askForToken(reason, use) {
  const form = find("token-form");
  write(find("token-reason"), reason);
  form.hidden = false;
  form.onsubmit = (event) => {
    event.preventDefault();
    const token = find("token-field").value.trim();
    if (token) {
      form.hidden = true;
      find("token-field").value = "";
      use(token);
    }
  };
}
