// Headings, labels and help for the options in Locust's start form, which shows one list with the help in each label.
// Whatever is not found stays as Locust has it.
(fields => {
  const inputs = name => [...document.getElementsByName(name)];
  // the element of a field: all around its input that holds no other one of the form
  const around = input => {
    let field = input;
    while (field.parentElement && field.parentElement.querySelectorAll("input, select, textarea").length === 1)
      field = field.parentElement;
    return field;
  };
  const styled = (tag, text, style) => Object.assign(document.createElement(tag), {textContent: text, style});
  // the element of the label, found by its text; an outline makes room for it with a second one
  const relabel = (field, old, label) => {
    const texts = document.createTreeWalker(field, NodeFilter.SHOW_TEXT);
    let element = field;
    while (texts.nextNode()) {
      const text = texts.currentNode;
      if (!text.data.endsWith(old)) continue;
      text.data = label;
      element = text.parentElement;
    }
    return element;
  };
  const dress = () => {
    let heading = "";
    for (const {name, group, label, help} of fields) {
      for (const input of inputs(name)) {
        if (input.dataset.bench) continue;
        input.dataset.bench = "true";
        const field = around(input);
        const labelled = relabel(field, `(${help})`, label);
        const box = input.type === "checkbox";
        const margin = box ? "0" : "3px 14px 0";
        const text = styled("span", help, `display: block; margin: ${margin}; font: 0.75rem sans-serif; opacity: 0.7`);
        text.id = `bench-${name}-help`;
        input.setAttribute("aria-describedby", text.id);
        (box ? labelled : field).append(text);
        if (group !== heading)
          field.before(styled("h4", group, "margin: 0 0 -16px; font: bold 1rem sans-serif"));
      }
      heading = group;
    }
  };
  new MutationObserver(dress).observe(document, {childList: true, subtree: true});
})
